"""What SQLite itself says of a database file, and a small database made to be backed up and compared.

- A file is opened read-only and immutable: no lock, no log and no side file, whatever lies beside it.
  It must not change meanwhile: give a copy.
- A check is interrupted when its task is cancelled; it never outlives it.
- What SQLite cannot open (encrypted, damaged in its first page) is a problem like any other, by name.
"""

import asyncio
import errno
import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROBLEMS: Final = 100  # SQLite stops looking there; nobody reads more
_STEPS: Final = 100_000  # instructions of SQLite's machine between two looks at a cancellation
_APPLICATION: Final = (
    "no such collation",
    "no such function",
    "unknown function",
    "no such module",
    "no such tokenizer",
    "unsafe use",
)


@dataclass(frozen=True, slots=True)
class Integrity:
    """What SQLite found, a sentence each, none is good; and the tables that it could not check here.

    A table is unchecked where its schema needs a collation, a function or a module of the application.
    """

    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


async def check_integrity(path: Path, *, quick: bool) -> Integrity:
    """Have SQLite check the file; raises nothing for what it finds.

    `quick` leaves out whether indexes and tables agree: about the time of reading the file once.
    """
    stopped = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(_check, path, quick, stopped.is_set))
    try:
        return await asyncio.shield(thread)
    finally:
        stopped.set()
        await asyncio.wait([thread])


def _check(path: Path, quick: bool, is_stopped: Callable[[], bool]) -> Integrity:
    pragma = "quick_check" if quick else "integrity_check"
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.set_progress_handler(is_stopped, _STEPS)
            connection.execute("PRAGMA trusted_schema=off")  # the file may be an enemy's
            try:
                return Integrity(_problems(connection, f"PRAGMA {pragma}({_PROBLEMS})"))
            except sqlite3.OperationalError as e:
                if not _needs_application(e):
                    raise
                return _check_tables(connection, pragma)
    except sqlite3.Error as e:
        return Integrity((f"SQLite cannot read it: {e}",))


def _check_tables(connection: sqlite3.Connection, pragma: str) -> Integrity:
    """Table by table, leaving out those that only the application can read."""
    problems: list[str] = []
    unchecked: list[str] = []
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for name in names:
        quoted = str(name).replace('"', '""')
        try:
            problems.extend(_problems(connection, f'PRAGMA {pragma}("{quoted}")'))
        except sqlite3.OperationalError as e:
            if not _needs_application(e):
                raise
            unchecked.append(str(name))
    return Integrity(tuple(problems), tuple(unchecked))


def _problems(connection: sqlite3.Connection, statement: str) -> tuple[str, ...]:
    found = tuple(str(row[0]) for row in connection.execute(statement))
    return () if found == ("ok",) else found


def _needs_application(error: sqlite3.OperationalError) -> bool:
    return any(text in str(error) for text in _APPLICATION)


def make_specimen(path: Path, states: int, seed: int) -> list[bytes]:
    """A new database at `path`, and its bytes at each of so many states, as an application leaves them.

    It has a table with an index, rows that come, change and go, and shrinks at the end: a few dozen pages.
    Raises OSError where the disk fails.
    """
    try:
        return _specimen(path, states, seed)
    except sqlite3.Error as e:
        raise OSError(errno.EIO, str(e)) from e


def _specimen(path: Path, states: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)  # noqa: S311 - contents of a throw-away database
    kept: list[bytes] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=off")
        connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, room INTEGER, body BLOB)")
        connection.execute("CREATE INDEX message_room ON message (room)")
        for state in range(states):
            connection.execute("BEGIN")
            rows = [(rng.randrange(9), rng.randbytes(rng.randrange(2000))) for _ in range(20)]
            connection.executemany("INSERT INTO message (room, body) VALUES (?, ?)", rows)
            connection.execute("DELETE FROM message WHERE id % 7 = ?", (state % 7,))
            connection.execute("UPDATE message SET room = room + 1 WHERE id % 5 = ?", (state % 5,))
            connection.execute("COMMIT")
            if state == states - 1:
                connection.execute("VACUUM")
            kept.append(path.read_bytes())
    return kept
