"""The truth about a database as committed, told by plain SQLite.

- Nothing here opens a connection to the database itself, only to copies: a connection would recover,
  checkpoint, and leave files behind, and a test could then not tell syncd's doing from its own.
- A copy is only valid while nobody writes: stop or pause the writer first.
- `-shm` is never copied. SQLite rebuilds it from the WAL, so this is what a recovery after a crash sees;
  where the WAL holds committed frames with zeroed salts (SQLite up to 3.49.1), that is *less* than what a
  connected application sees. The truth of such a state is the writer's own `serialize()`.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

SIDE_FILES = ("-wal", "-shm", "-journal")


def side_files(db: Path) -> list[Path]:
    """The files that SQLite keeps beside a database, existing or not."""
    return [db.with_name(db.name + suffix) for suffix in SIDE_FILES]


def fold(db: Path, scratch: Path) -> Path:
    """Copy `db` with its WAL and journal into `scratch`, let SQLite fold them in; return the one file left.

    What an earlier call left in `scratch` under the same name is replaced.
    """
    copy = scratch / db.name
    for path in (copy, *side_files(copy)):
        path.unlink(missing_ok=True)
    shutil.copyfile(db, copy)
    for suffix in ("-wal", "-journal"):
        source = db.with_name(db.name + suffix)
        if source.exists():
            shutil.copyfile(source, copy.with_name(copy.name + suffix))
    with closing(sqlite3.connect(copy, isolation_level=None)) as conn:
        # Reading first: in a rollback mode this is what rolls a hot journal back.
        conn.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        busy = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    assert not busy
    for path in side_files(copy):  # a journal of journal_mode=persist stays, and means nothing
        path.unlink(missing_ok=True)
    return copy


def integrity_check(path: Path) -> list[str]:
    """What SQLite finds wrong with a single file (no WAL): empty if all is well.

    Opened as immutable, so that nothing is created beside the file.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as conn:
        return [row for (row,) in conn.execute("PRAGMA integrity_check") if row != "ok"]
