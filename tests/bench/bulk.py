"""A writer of much, when told to.

    python -m tests.bench.bulk DB

- Each line on stdin, `MEGABYTES TRANSACTIONS`, writes so much in so many transactions, as rows of 1 to 3 kB
  that do not compress; the answer is a JSON line. The end of stdin closes the database.
"""

import json
import random
import sqlite3
import sys
import time
from contextlib import closing


def main() -> int:
    rng = random.Random(0)
    with closing(sqlite3.connect(sys.argv[1], isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("CREATE TABLE IF NOT EXISTS bodies(id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            megabytes, transactions = map(int, line.split())
            started = time.monotonic()
            for _ in range(transactions):
                left = megabytes * 1_000_000 // transactions
                conn.execute("BEGIN")
                while left > 0:
                    body = rng.randbytes(rng.randint(1000, 3000))
                    conn.execute("INSERT INTO bodies(body) VALUES (?)", (body,))
                    left -= len(body)
                conn.execute("COMMIT")
            print(json.dumps({"seconds": round(time.monotonic() - started, 2)}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
