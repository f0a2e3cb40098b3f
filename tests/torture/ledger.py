"""The application's database, and its own account of it.

- Every transaction stamps a counter that never goes back, the number of messages, and the sum of their
  checksums into `total`; each message carries the checksum of its body. A torn or mixed state shows.
- Right before a commit, `journal` gets the line `seconds counter rows sum`: what it does not have was never
  committed.
- Commits are timed; nothing waits for a lock (the time-out is 0), so a foreign lock is an error at once.
- It knows nothing of syncd.
"""

import random
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TextIO

SCHEMA: Final = """
CREATE TABLE messages(
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL, body TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX by_room ON messages(room, id);
CREATE TABLE total(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    counter INTEGER NOT NULL, rows INTEGER NOT NULL, sum INTEGER NOT NULL);
INSERT INTO total VALUES (1, 0, 0, 0);
"""
KEPT: Final = 5000
_ROOMS: Final = 40
_WORDS: Final = [
    "".join(random.Random(n).choices("abcdefghijklmnopqrstuvwxyz", k=2 + n % 9)) for n in range(500)
]


class Ledger:
    """One application's connection. `counter` is the last that was committed, by whichever connection."""

    def __init__(self, path: Path, journal: TextIO, *, mode: str, counter: int, bulk_bytes: int) -> None:
        self.path = path
        self.counter = counter
        self.bulk_bytes = bulk_bytes
        self.commits = 0
        self.slowest = 0.0
        self.slowest_checkpoint = 0.0
        self.busy_checkpoints = 0
        self.complaints: list[str] = []
        self._journal = journal
        self.mode = mode
        self._conn = self.open()

    def open(self) -> sqlite3.Connection:
        """Connect; a new database gets its tables."""
        conn = self.connect()
        conn.execute(f"PRAGMA journal_mode = {self.mode}")
        conn.execute("PRAGMA synchronous = NORMAL")
        if not conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            conn.executescript(f"BEGIN;{SCHEMA}COMMIT;")
            self._conn = conn
            self.post(300, random.Random(self.counter))
        return conn

    def connect(self) -> sqlite3.Connection:
        """Another connection."""
        return sqlite3.connect(self.path, timeout=0, isolation_level=None)

    def close(self) -> None:
        self._conn.close()

    def reopen(self) -> None:
        self._conn.close()
        self._conn = self.open()

    def post(self, count: int, rng: random.Random, *, size: int = 0, also: str = "") -> None:
        """One transaction: so many messages come, the oldest go, one is edited now and then."""
        execute = self._conn.execute
        execute("BEGIN IMMEDIATE")
        rows, total = execute("SELECT rows, sum FROM total").fetchone()
        newest = execute("SELECT ifnull(max(id), 0) FROM messages").fetchone()[0]
        for number in range(newest + 1, newest + count + 1):
            body = _body(rng, size)
            crc = zlib.crc32(body.encode())
            execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (number, rng.randrange(_ROOMS), body, crc))
            rows, total = rows + 1, total + crc
        limit = newest + count - max(KEPT, count)
        gone, less = execute(
            "SELECT count(*), ifnull(sum(crc), 0) FROM messages WHERE id <= ?", (limit,)
        ).fetchone()
        if gone:
            execute("DELETE FROM messages WHERE id <= ?", (limit,))
        if also:
            execute(also)
        state = (self.counter + 1, rows - gone, total - less)
        execute("UPDATE total SET counter = ?, rows = ?, sum = ?", state)
        self._journal.write("{} {} {} {}\n".format(round(time.time(), 3), *state))
        self._journal.flush()
        started = time.monotonic()
        execute("COMMIT")
        if not size:
            self.slowest = max(self.slowest, time.monotonic() - started)
        self.counter += 1
        self.commits += 1

    def execute(self, statement: str) -> None:
        self._conn.execute(statement).fetchall()

    def checkpoint(self, mode: str) -> None:
        """A checkpoint; that a reader is in its way is no error, only noted."""
        started = time.monotonic()
        (busy, _, _) = self._conn.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self.slowest_checkpoint = max(self.slowest_checkpoint, time.monotonic() - started)
        self.busy_checkpoints += busy

    @contextmanager
    def patient(self) -> Iterator[None]:
        """The time-out that Python's sqlite3 has by itself."""
        self._conn.execute("PRAGMA busy_timeout = 5000")
        try:
            yield
        finally:
            self._conn.execute("PRAGMA busy_timeout = 0")

    @contextmanager
    def attached(self) -> Iterator[None]:
        """A second database as `other`."""
        self._conn.execute("ATTACH ? AS other", (str(self.path.with_name("other.db")),))
        try:
            self._conn.execute("CREATE TABLE IF NOT EXISTS other.notes(id INTEGER PRIMARY KEY, body TEXT)")
            yield
        finally:
            self._conn.execute("DETACH other")

    def backup(self, to: Path) -> None:
        """A copy by SQLite's own means."""
        to.unlink(missing_ok=True)
        with closing(sqlite3.connect(to)) as conn:
            self._conn.backup(conn)

    def complain(self, sentence: str) -> None:
        self.complaints.append(sentence)


def _body(rng: random.Random, size: int) -> str:
    if size:
        return rng.randbytes(size // 4).hex() * 2
    return " ".join(rng.choices(_WORDS, k=rng.randint(3, 30)))
