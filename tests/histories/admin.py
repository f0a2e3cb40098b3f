"""What an application does to its database as a whole. Importing this module registers the operations."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from tests.histories import schema
from tests.histories.app import OPS, ROLLBACK_MODES, App
from tests.histories.ops import some_rows
from tests.histories.registry import NotNow

op = OPS.op


def backup_path(db: Path) -> Path:
    """Where the application keeps a backup of its own making."""
    return db.with_name(db.name + ".backup")


def checkpoint(app: App, mode: str) -> None:
    if app.journal_mode != "wal":
        raise NotNow
    sql = f"PRAGMA wal_checkpoint({mode})"
    try:
        app.conn.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        # Seen now and then when this connection has just entered WAL mode and nothing was read since, with
        # nobody else connected. The cause is not known; the second attempt has always succeeded.
        if error.sqlite_errorname != "SQLITE_LOCKED":
            raise
        app.conn.execute(sql).fetchall()


@op("checkpoint", 2)
def checkpoint_passive(app: App) -> None:
    checkpoint(app, "PASSIVE")


@op("checkpoint", 1)
def checkpoint_full(app: App) -> None:
    app.release_reader()  # FULL and the stronger modes would wait for our own reader
    checkpoint(app, "FULL")


@op("checkpoint", 2)
def checkpoint_restart(app: App) -> None:
    app.release_reader()
    checkpoint(app, "RESTART")


@op("checkpoint", 2)
def checkpoint_truncate(app: App) -> None:
    app.release_reader()
    checkpoint(app, "TRUNCATE")


@op("checkpoint", 2)
def checkpoint_behind_reader(app: App) -> None:
    """Only the frames up to the reader's mark go to the database, the others stay in the WAL."""
    app.release_reader()
    app.hold_reader()
    with app.transaction() as conn:
        some_rows(app, conn, 10, 200)
    checkpoint(app, "PASSIVE")
    with app.transaction() as conn:
        some_rows(app, conn, 10, 200)
    app.release_reader()


@op("connection", 2)
def hold_reader(app: App) -> None:
    app.hold_reader()


@op("connection", 2)
def release_reader(app: App) -> None:
    if not app.reader:
        raise NotNow
    app.release_reader()


@op("connection", 3)
def second_connection(app: App) -> None:
    app.room()
    with app.second() as other:
        with app.transaction(other):
            some_rows(app, other, app.rng.randrange(1, 20), 120)
        with app.transaction() as conn:
            some_rows(app, conn, app.rng.randrange(1, 10), 120)


@op("connection", 1)
def stale_snapshot(app: App) -> None:
    """A connection that has read an old state may not write: its transaction comes to nothing."""
    if app.journal_mode != "wal":
        raise NotNow
    with app.second() as other:
        other.execute("BEGIN")
        tables = schema.tables(other)
        if not tables:
            raise NotNow
        with app.transaction() as conn:
            some_rows(app, conn, 3, 50)
        with suppress(sqlite3.OperationalError):
            schema.put(other, app.rng, tables[0], 50)


@op("pragma", 3)
def tune(app: App) -> None:
    app.tune()


@op("pragma", 1)
def set_user_version(app: App) -> None:
    app.conn.execute(f"PRAGMA user_version={app.rng.getrandbits(31)}")


@op("exclusive", 1, alone=True)
def go_exclusive(app: App) -> None:
    """Lock the file for this connection alone; only the next opening ends it.

    There is no way back here, because SQLite's is not dependable: after `locking_mode=NORMAL` the answer
    is "normal", and yet locks and a wal-index that was never shared can stay until WAL mode is left.
    """
    if app.exclusive:
        raise NotNow
    app.release_reader()
    app.exclusive = True
    app.conn.execute("PRAGMA main.locking_mode=EXCLUSIVE")
    app.conn.execute("BEGIN IMMEDIATE")  # the lock is taken by the first write, not by the pragma
    app.conn.execute("COMMIT")


@op("vacuum", 2)
def vacuum(app: App) -> None:
    app.release_reader()
    app.conn.execute("VACUUM")


@op("vacuum", 3)
def incremental_vacuum(app: App) -> None:
    if app.conn.execute("PRAGMA auto_vacuum").fetchone() != (2,):
        raise NotNow
    app.conn.execute(f"PRAGMA incremental_vacuum({app.rng.choice((0, 1, 5))})").fetchall()


@op("vacuum", 1)
def change_auto_vacuum(app: App) -> None:
    app.release_reader()
    app.conn.execute(f"PRAGMA auto_vacuum={app.rng.randrange(3)}")
    app.conn.execute("VACUUM")


@op("pagesize", 1, alone=True)
def change_page_size(app: App) -> None:
    """Only outside WAL mode does VACUUM take a new page size."""
    app.release_reader()
    before = app.journal_mode
    with app.path.open("rb") as file:
        reserved = file.read(21)[20:]
    smallest = 1024 if reserved > b"\x20" else 512  # a page must keep 480 usable bytes
    app.set_journal("delete")
    size = app.rng.choice([size for size in schema.PAGE_SIZES if size >= smallest])
    app.conn.execute(f"PRAGMA page_size={size}")
    app.conn.execute("VACUUM")
    app.set_journal(before)


@op("journal", 1, alone=True)
def switch_journal(app: App) -> None:
    app.release_reader()
    before = app.journal_mode
    app.set_journal(app.rng.choice(ROLLBACK_MODES if before == "wal" else (*ROLLBACK_MODES, *["wal"] * 12)))


@op("journal", 1, alone=True)
def visit_rollback(app: App) -> None:
    """Leave WAL mode, write, and come back: the WAL is a new one then."""
    app.release_reader()
    if app.journal_mode != "wal":
        raise NotNow
    app.set_journal(app.rng.choice(ROLLBACK_MODES))
    with app.transaction() as conn:
        some_rows(app, conn, 10, 200)
    app.set_journal("wal")


@op("file", 2)
def backup(app: App) -> None:
    """A backup of the application's own, for `restore_backup` and `restore_in_place`."""
    target = backup_path(app.path)
    target.unlink(missing_ok=True)
    if app.rng.random() < 0.5:
        app.conn.execute("VACUUM INTO ?", (str(target),))
    else:
        with closing(sqlite3.connect(target)) as conn:
            app.conn.backup(conn)


@op("file", 1, alone=True)
def restore_in_place(app: App) -> None:
    """SQLite's own backup interface, backwards: every page is written through the live connection."""
    app.release_reader()
    source = backup_path(app.path)
    if not source.exists():
        raise NotNow
    with closing(sqlite3.connect(source)) as conn:
        # SQLite refuses another page size in WAL mode; another encoding it takes, and then the
        # connection that wrote it refuses every statement.
        for pragma in ("PRAGMA page_size", "PRAGMA encoding"):
            if conn.execute(pragma).fetchone() != app.conn.execute(pragma).fetchone():
                raise NotNow
        conn.backup(app.conn)
