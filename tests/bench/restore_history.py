"""The writer of a reproducible history: a large chat database, then small transactions, one at a time.

    python -m tests.bench.restore_history DB --megabytes 1000

- Thousands of conversations, two indexes, receipts; the same seed gives the same rows, whoever watches.
- Each line on stdin is one transaction of a few messages; its answer is a line, after the commit.
  The end of stdin closes the database.
"""

import argparse
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from syncd.cli.chatapp import SCHEMA, SENDERS, WORDS, zipf

CONVERSATIONS = 5000
_BODIES = 100_000
_START_MS = 1_790_000_000_000
_FILL_ROWS = 20_000
_RECENT = 50
_INSERT = "INSERT INTO messages(id, conversation_id, sender, body, created_at) VALUES (?, ?, ?, ?, ?)"
_POST = """INSERT INTO conversations VALUES (?, ?, ?, ?) ON CONFLICT(id) DO UPDATE
SET last_message_id = excluded.last_message_id, updated_at = excluded.updated_at"""
_READ = """INSERT INTO receipts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
SET last_read_id = excluded.last_read_id, read_at = excluded.read_at"""


class History:
    """The database and what is written to it next."""

    def __init__(self, path: Path) -> None:
        self._rng = random.Random(0)
        words = zipf(len(WORDS))
        self._bodies = [
            " ".join(self._rng.choices(WORDS, cum_weights=words, k=self._rng.randint(4, 45))).capitalize()
            for _ in range(_BODIES)
        ]
        self._rooms = self._rng.choices(range(CONVERSATIONS), cum_weights=zipf(CONVERSATIONS), k=_BODIES)
        self._last = 0
        self._path = path
        self.conn = sqlite3.connect(path, isolation_level=None)
        self.conn.execute("PRAGMA synchronous = OFF")
        self.conn.executescript(SCHEMA)

    def fill(self, megabytes: int) -> None:
        """Until the file has that size, without a log; then to WAL mode."""
        self.conn.execute("PRAGMA journal_mode = OFF")
        self.conn.execute("PRAGMA cache_size = -200000")
        while self._path.stat().st_size < megabytes * 1_000_000:
            self.conn.execute("BEGIN")
            self.conn.executemany(_INSERT, self._rows(_FILL_ROWS))
            self.conn.execute("COMMIT")
        self.conn.execute("PRAGMA journal_mode = WAL")

    def post(self, messages: int) -> None:
        """One transaction: messages, their conversations, receipts, now and then an edit."""
        self.conn.execute("BEGIN IMMEDIATE")
        for row in self._rows(messages):
            number, room, _, _, now = row
            self.conn.execute(_INSERT, row)
            self.conn.execute(_POST, (room, f"Room {room}", number, now))
            if self._rng.random() < 0.6:
                self.conn.execute(_READ, (room, self._rng.choice(SENDERS), number, now))
            if self._rng.random() < 0.06:
                edit = (self._rng.choice(self._bodies), now, max(1, number - self._rng.randrange(_RECENT)))
                self.conn.execute("UPDATE messages SET body = ?, edited_at = ? WHERE id = ?", edit)
        self.conn.execute("COMMIT")

    def _rows(self, count: int) -> Iterator[tuple[int, int, str, str, int]]:
        rng = self._rng
        for _ in range(count):
            self._last += 1
            yield (
                self._last,
                rng.choice(self._rooms),
                rng.choice(SENDERS),
                rng.choice(self._bodies),
                _START_MS + 40 * self._last,
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restore_history")
    parser.add_argument("db", type=Path)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=5, help="in one transaction")
    args = parser.parse_args()
    history = History(args.db)
    with closing(history.conn):
        history.fill(args.megabytes)
        print("filled", flush=True)
        for _ in sys.stdin:
            history.post(args.messages)
            print("posted", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
