"""The application of a random history: its connection, and how it opens a database.

It keeps no state beyond its connections: what the database holds it reads from the schema, so that it can
be killed at any moment and started again. All randomness comes from the seeds that it is given.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.histories import schema
from tests.histories.registry import NotNow, Registry
from tests.histories.schema import Birth, Table

ROLLBACK_MODES = ("delete", "truncate", "persist", "memory")
# Growth stops here: the truth of a database is written out and hashed after every run.
SIZE_LIMIT = 4 << 20
# Long enough for a scheduler's hiccup; short, because a reader that locks us out shall be seen as busy.
BUSY_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open: the seed of all choices, the allowed groups, and what the command line pins."""

    seed: int
    allow: frozenset[str]
    alone: bool = True
    page_size: int | None = None
    reserved: int | None = None
    journal: str | None = None


class App:
    """One application process with one connection, or a few."""

    def __init__(self, path: Path, opening: Opening) -> None:
        self.path = path
        self.rng = Random(opening.seed)
        self.reader: sqlite3.Connection | None = None
        fresh = not path.exists() or not path.stat().st_size
        birth = Birth.draw(self.rng, page_size=opening.page_size, reserved=opening.reserved)
        if fresh and birth.reserved:
            path.write_bytes(birth.template())
        self.conn = self.connect()
        # Before the first access, else the wal-index is in shared memory as usual.
        self.exclusive = opening.alone and "exclusive" in opening.allow and self.rng.random() < 0.1
        if self.exclusive:
            self.conn.execute("PRAGMA main.locking_mode=EXCLUSIVE")
        self.tune()
        if fresh and not birth.reserved:
            self.conn.execute(f"PRAGMA page_size={birth.page_size}")
            self.conn.execute(f"PRAGMA encoding='{schema.ENCODINGS[birth.encoding - 1]}'")
            self.conn.execute(f"PRAGMA auto_vacuum={birth.auto_vacuum}")
        self._choose_journal(opening, fresh=fresh)
        if fresh:
            with self.transaction():
                for kind in ("r", self.rng.choice("rwgf")):
                    self.create_table(kind)

    def connect(self) -> sqlite3.Connection:
        """Another connection of this process."""
        return sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)

    def tune(self) -> None:
        """The settings that an application makes per connection."""
        conn, rng = self.conn, self.rng
        conn.execute(f"PRAGMA cache_size={rng.choice((2, 5, 10, 50, -2000))}")
        conn.execute(f"PRAGMA synchronous={rng.choice(('OFF', 'OFF', 'OFF', 'NORMAL', 'FULL'))}")
        conn.execute(f"PRAGMA wal_autocheckpoint={rng.choice((0, 10, 100, 1000))}")
        conn.execute(f"PRAGMA journal_size_limit={rng.choice((-1, -1, 0, 65536))}")
        conn.execute(f"PRAGMA secure_delete={rng.choice((0, 0, 1, 'FAST'))}")

    def set_journal(self, mode: str) -> None:
        """Switch the journal mode; NotNow where SQLite stays with the old one.

        A connection that has not looked since another one committed keeps its old cache when it leaves WAL
        mode, writes it back later, and so corrupts the database (SQLite 3.40.1): the change counter, by
        which it would notice, is not kept in WAL mode. Reading first refreshes the cache.
        """
        self.conn.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        (now,) = self.conn.execute(f"PRAGMA journal_mode={mode}").fetchone()
        if now != mode:
            raise NotNow

    @property
    def journal_mode(self) -> str:
        mode: str = self.conn.execute("PRAGMA journal_mode").fetchone()[0]
        return mode

    @property
    def tables(self) -> list[Table]:
        return schema.tables(self.conn)

    def table(self, kinds: str = "rwgf") -> Table:
        """Any table of one of these kinds."""
        found = [table for table in self.tables if table.kind in kinds]
        if not found:
            raise NotNow
        return self.rng.choice(found)

    def create_table(self, kind: str) -> None:
        taken = {table.name for table in self.tables}
        names = [f"{kind}{number}" for number in range(20) if f"{kind}{number}" not in taken]
        self.conn.execute(schema.create_table(self.rng, self.rng.choice(names)))

    def room(self) -> None:
        """Refuse to grow beyond the limit."""
        (pages,) = self.conn.execute("PRAGMA page_count").fetchone()
        (page_size,) = self.conn.execute("PRAGMA page_size").fetchone()
        if pages * page_size > SIZE_LIMIT:
            raise NotNow

    @contextmanager
    def transaction(self, conn: sqlite3.Connection | None = None) -> Iterator[sqlite3.Connection]:
        """One write transaction; rolled back when the body raises."""
        conn = conn or self.conn
        conn.execute(self.rng.choice(("BEGIN", "BEGIN IMMEDIATE")))
        try:
            yield conn
            conn.execute("COMMIT")
        finally:
            if conn.in_transaction:
                conn.execute("ROLLBACK")

    @contextmanager
    def tiny_cache(self) -> Iterator[None]:
        """So few pages that a transaction spills to the WAL, or the database, long before it commits."""
        (size,) = self.conn.execute("PRAGMA cache_size").fetchone()
        self.conn.execute(f"PRAGMA cache_size={self.rng.choice((2, 5, 10))}")
        try:
            yield
        finally:
            self.conn.execute(f"PRAGMA cache_size={size}")

    @contextmanager
    def second(self) -> Iterator[sqlite3.Connection]:
        """A second connection for a while; not where the first has locked the file for itself."""
        if self.exclusive:
            raise NotNow
        with closing(self.connect()) as conn:
            yield conn
            if conn.in_transaction:
                conn.execute("ROLLBACK")

    def hold_reader(self) -> None:
        """Pin a read transaction at the present state: checkpoints stop there, and the WAL is not reset."""
        if self.exclusive or self.reader or self.journal_mode != "wal":
            raise NotNow
        self.reader = self.connect()
        self.reader.execute("BEGIN")
        self.reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def release_reader(self) -> None:
        if self.reader:
            self.reader.close()
            self.reader = None

    def abandon(self, seed: int) -> None:
        """Leave a transaction open in which pages were spilled already; to be killed in this state."""
        self.rng = Random(seed)
        # With the journal in memory a spill followed by a kill would destroy the database, as documented.
        spill = "OFF" if self.journal_mode == "memory" else "ON"
        self.conn.execute(f"PRAGMA cache_spill={spill}")
        self.conn.execute("PRAGMA cache_size=2")
        self.conn.execute("BEGIN IMMEDIATE")
        for _ in range(self.rng.randrange(20, 60)):
            schema.put(self.conn, self.rng, self.table(), 400)

    def image(self) -> bytes:
        """The committed database as this connection sees it.

        The cache is emptied first: in rollback modes SQLite keeps the old content of freed pages there,
        which it never writes (sqlite3PagerDontWrite), and serialize() would tell of pages that no file has.
        """
        self.conn.execute("PRAGMA shrink_memory")
        return self.conn.serialize()

    def close(self) -> None:
        self.release_reader()
        self.conn.close()

    def _choose_journal(self, opening: Opening, *, fresh: bool) -> None:
        rng = self.rng
        mode = opening.journal or "wal"
        if "journal" in opening.allow:
            mode = self.journal_mode
            if mode != "wal":  # it is a matter of the connection only, as long as it is not WAL
                mode = rng.choice(ROLLBACK_MODES)
            if fresh:
                mode = opening.journal or rng.choice((*ROLLBACK_MODES, *["wal"] * 12))
            elif opening.alone and rng.random() < 0.25:
                mode = rng.choice((*ROLLBACK_MODES, *["wal"] * 12))
        with suppress(NotNow):
            self.set_journal(mode)


OPS: Registry[App] = Registry()
