"""What SQLite itself says of a database file, and a small database made to be backed up and compared.

- A file is opened read-only and immutable: no lock, no log and no side file, whatever lies beside it.
  It must not change meanwhile: give a copy.
- A check is interrupted when its task is cancelled; it never outlives it.
- What SQLite cannot open (encrypted, damaged in its first page) is a problem like any other, by name.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

_PROBLEMS: Final = 100  # SQLite stops looking there; nobody reads more
_STEPS: Final = 100_000  # instructions of SQLite's machine between two looks at a cancellation


async def check_integrity(path: Path, *, quick: bool) -> list[str]:
    """The problems that SQLite finds, each a sentence; none is good. Raises nothing else.

    `quick` leaves out that indexes and tables agree: about the time of reading the file once.
    """
    stopped = False

    def look() -> list[str]:
        return _check(path, quick=quick, is_stopped=lambda: stopped)

    thread = asyncio.ensure_future(asyncio.to_thread(look))
    try:
        return await asyncio.shield(thread)
    finally:
        stopped = True
        await asyncio.wait([thread])


def _check(path: Path, *, quick: bool, is_stopped: Callable[[], bool]) -> list[str]:
    pragma = "quick_check" if quick else "integrity_check"
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.set_progress_handler(is_stopped, _STEPS)
            # A check of what lies there needs no function or module of the application.
            connection.execute("PRAGMA trusted_schema=off")
            found = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}({_PROBLEMS})")]
    except sqlite3.Error as e:
        return [f"SQLite cannot read it: {e}"]
    return [] if found == ["ok"] else found


def make_specimen(path: Path, states: int, seed: int) -> list[bytes]:
    """A new database at `path`, and its bytes at each of so many states, as an application leaves them.

    It has a table with an index, rows that come, change and go, and shrinks at the end: a few dozen pages.
    """
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
