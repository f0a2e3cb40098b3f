"""A look from outside, for `status`, whether or not the daemon runs; and a note for it."""

import sqlite3
from pathlib import Path

from syncd.errors import StateError
from syncd.state.records import TARGETS_QUERY, Job, Status, chain_of, target_of


def note_job(path: Path, job: Job) -> None:
    """Note what a command did, for `status`; not where there is no state, or it is not ours to write."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
        try:
            with connection:
                connection.execute(
                    "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?)",
                    (job.name, job.last_ms, job.ok, job.detail),
                )
        finally:
            connection.close()
    except sqlite3.Error:
        return


def read_status(path: Path) -> Status:
    """Look at a state from outside, daemon running or not, or just making its state. Raises StateError."""
    try:
        try:
            found = _read(path, "mode=ro")
        except sqlite3.OperationalError as e:
            # On a read-only file system SQLite cannot make the files that it wants beside one in WAL mode.
            wal = path.with_name(path.name + "-wal")
            if e.sqlite_errorcode != sqlite3.SQLITE_CANTOPEN or not path.exists() or wal.exists():
                raise
            found = _read(path, "immutable=1")
    except (sqlite3.Error, OSError) as e:
        raise StateError(f"{path} cannot be read: {e}", hint="has `syncd run` been started once?") from e
    return found


def _read(path: Path, how: str) -> Status:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=5)
    try:
        connection.execute("BEGIN")
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            return Status(None, "", "new", "", 0, ())
        chain = connection.execute("SELECT * FROM chain").fetchone()
        source = connection.execute("SELECT path, state, error, error_ms FROM source").fetchone()
        jobs = connection.execute("SELECT name, last_ms, ok, detail FROM job ORDER BY name").fetchall()
        targets = connection.execute(TARGETS_QUERY + " WHERE t.in_use ORDER BY t.name").fetchall()
    finally:
        connection.close()
    database, state, error, error_ms = source or ("", "new", "", 0)
    return Status(
        chain=chain_of(chain) if chain else None,
        path=database,
        source_state=state,
        source_error=error,
        source_error_ms=error_ms,
        targets=tuple(target_of(row) for row in targets),
        jobs=tuple(Job(row[0], row[1], bool(row[2]), row[3]) for row in jobs),
    )
