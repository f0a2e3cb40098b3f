"""What an application does to its rows and its schema. Importing this module registers the operations."""

import sqlite3

from tests.histories import schema
from tests.histories.app import OPS, App
from tests.histories.registry import NotNow

SMALL = 120
op = OPS.op


def some_rows(app: App, conn: sqlite3.Connection, count: int, size: int) -> None:
    """A mixture of inserts, updates and deletes."""
    tables = app.tables
    if not tables:
        raise NotNow
    for _ in range(count):
        table = app.rng.choice(tables)
        draw = app.rng.random()
        if draw < 0.5:
            schema.put(conn, app.rng, table, size)
        elif draw < 0.85:
            schema.change(conn, app.rng, table, size)
        else:
            schema.remove(conn, app.rng, table, 2)


@op("dml", 12)
def insert_small(app: App) -> None:
    app.room()
    table = app.table()
    with app.transaction() as conn:
        for _ in range(app.rng.randrange(1, 20)):
            schema.put(conn, app.rng, table, app.rng.randrange(2 * SMALL))


@op("dml", 6)
def insert_autocommit(app: App) -> None:
    app.room()
    for _ in range(app.rng.randrange(1, 6)):
        schema.put(app.conn, app.rng, app.table(), SMALL)


@op("dml", 3)
def insert_big(app: App) -> None:
    app.room()
    table = app.table("rwg")
    with app.transaction() as conn:
        for _ in range(app.rng.randrange(1, 3)):
            schema.put(conn, app.rng, table, app.rng.randrange(3_000, 100_000))


@op("dml", 3)
def insert_batch(app: App) -> None:
    app.room()
    with app.transaction() as conn:
        some_rows(app, conn, app.rng.randrange(50, 250), SMALL)


@op("dml", 2)
def write_blob(app: App) -> None:
    app.room()
    table = app.table("rg")
    key = app.rng.randrange(schema.KEYS)
    size = app.rng.randrange(1, 60_000)
    with app.transaction() as conn:
        row = (key, schema.text(app.rng, SMALL), size)
        conn.execute(f"INSERT OR REPLACE INTO {table.name}(id, a, b) VALUES (?, ?, zeroblob(?))", row)
        indexed = conn.execute(
            "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?", (table.name,)
        ).fetchone()
        if not indexed:  # SQLite refuses incremental writes to an indexed column
            with conn.blobopen(table.name, "b", key) as blob:
                blob.seek(app.rng.randrange(size))
                blob.write(app.rng.randbytes(min(500, size - blob.tell())))


@op("dml", 10)
def mixed(app: App) -> None:
    app.room()
    with app.transaction() as conn:
        some_rows(app, conn, app.rng.randrange(1, 30), app.rng.choice((10, SMALL, 400)))


@op("dml", 6)
def update_small(app: App) -> None:
    table = app.table()
    with app.transaction() as conn:
        for _ in range(app.rng.randrange(1, 10)):
            schema.change(conn, app.rng, table, app.rng.randrange(SMALL))


@op("dml", 2)
def update_big(app: App) -> None:
    app.room()
    schema.change(app.conn, app.rng, app.table("rwg"), app.rng.randrange(1_000, 40_000))


@op("dml", 1)
def update_nothing(app: App) -> None:
    table = app.table()
    app.conn.execute(f"UPDATE {table.name} SET {table.columns[0]} = {table.columns[0]}")


@op("dml", 5)
def delete_some(app: App) -> None:
    table = app.table()
    with app.transaction() as conn:
        for _ in range(app.rng.randrange(1, 5)):
            schema.remove(conn, app.rng, table, app.rng.choice((0, 1, 30)))


@op("dml", 1)
def delete_all(app: App) -> None:
    app.conn.execute(f"DELETE FROM {app.table().name}")


@op("dml", 3)
def upsert(app: App) -> None:
    app.room()
    table = app.table("rg")
    with app.transaction() as conn:
        for _ in range(app.rng.randrange(1, 10)):
            conn.execute(
                f"INSERT INTO {table.name}(id, a) VALUES (?, ?)"
                " ON CONFLICT(id) DO UPDATE SET a = excluded.a || substr(a, 1, 1000)",
                (app.rng.randrange(schema.KEYS), schema.text(app.rng, 20)),
            )


@op("dml", 1)
def empty_transaction(app: App) -> None:
    app.conn.execute("BEGIN IMMEDIATE")
    app.conn.execute("COMMIT")


@op("rollback", 4)
def rollback(app: App) -> None:
    with app.tiny_cache():
        app.conn.execute("BEGIN IMMEDIATE")
        try:
            some_rows(app, app.conn, app.rng.randrange(1, 60), 300)
        finally:
            app.conn.execute("ROLLBACK")


@op("rollback", 1)
def rollback_schema(app: App) -> None:
    app.conn.execute("BEGIN")
    try:
        app.create_table(app.rng.choice("rwgf"))
        app.conn.execute(f"DROP TABLE {app.table().name}")
    finally:
        app.conn.execute("ROLLBACK")


@op("rollback", 6)
def savepoints(app: App) -> None:
    """Nested savepoints rolled back under a tiny cache: in WAL mode, what leaves zeroed frames behind."""
    app.room()
    table = app.table("rwg")
    depth = 0
    with app.tiny_cache(), app.transaction() as conn:
        for _ in range(app.rng.randrange(5, 60)):
            draw = app.rng.random()
            if draw < 0.3:
                schema.put(conn, app.rng, table, app.rng.randrange(600))
            elif draw < 0.7:
                schema.change(conn, app.rng, table, app.rng.randrange(600))
            elif draw < 0.85:
                conn.execute(f"SAVEPOINT s{depth}")
                depth += 1
            elif depth and draw < 0.97:
                depth = app.rng.randrange(depth) + 1  # ROLLBACK TO keeps the savepoint itself
                conn.execute(f"ROLLBACK TO s{depth - 1}")
            elif depth:
                depth -= 1
                conn.execute(f"RELEASE s{depth}")


@op("rollback", 2)
def failed_statement(app: App) -> None:
    """A statement that has changed many rows before it fails: undone from the statement journal."""
    table = app.table("rg")
    with app.transaction() as conn:
        schema.put(conn, app.rng, table, SMALL)
        try:
            conn.execute(
                f"UPDATE {table.name} SET a = a || 'x', id = CASE WHEN id % 7 = 6 THEN id - 1 ELSE id END"
            )
        except sqlite3.IntegrityError:
            schema.change(conn, app.rng, table, SMALL)


@op("ddl", 3)
def create_table(app: App) -> None:
    app.room()
    if len(app.tables) >= 6:
        raise NotNow
    app.create_table(app.rng.choice("rrwgf"))


@op("ddl", 1)
def drop_table(app: App) -> None:
    if len(app.tables) < 2:
        raise NotNow
    app.conn.execute(f"DROP TABLE {app.table().name}")


@op("ddl", 3)
def create_index(app: App) -> None:
    app.room()
    names = schema.indexes(app.conn)
    free = [f"x{number}" for number in range(6) if f"x{number}" not in names]
    if not free:
        raise NotNow
    app.conn.execute(schema.create_index(app.rng, free[0], app.table("rwg")))


@op("ddl", 1)
def drop_index(app: App) -> None:
    names = schema.indexes(app.conn)
    if not names:
        raise NotNow
    app.conn.execute(f"DROP INDEX {app.rng.choice(names)}")


@op("ddl", 1)
def add_column(app: App) -> None:
    table = app.table("rwg")
    if len(table.columns) >= 6:
        raise NotNow
    app.conn.execute(f"ALTER TABLE {table.name} ADD COLUMN d{app.rng.getrandbits(30)} DEFAULT 7")


@op("ddl", 1)
def drop_column(app: App) -> None:
    table = app.table("rwg")
    added = [column for column in table.columns if column.startswith("d")]
    if not added:
        raise NotNow
    try:
        app.conn.execute(f"ALTER TABLE {table.name} DROP COLUMN {added[0]}")
    except sqlite3.OperationalError as error:
        if "error in index" not in str(error):
            raise
        raise NotNow from error


@op("ddl", 1)
def rename_table(app: App) -> None:
    table = app.table()
    taken = {other.name for other in app.tables}
    free = [name for number in range(20) if (name := f"{table.kind}{number}") not in taken]
    app.conn.execute(f"ALTER TABLE {table.name} RENAME TO {app.rng.choice(free)}")


@op("ddl", 1)
def reindex(app: App) -> None:
    app.conn.execute("REINDEX")


@op("ddl", 1)
def analyze(app: App) -> None:
    app.conn.execute("ANALYZE")


@op("ddl", 1)
def tidy_fts(app: App) -> None:
    name = app.table("f").name
    app.conn.execute(f"INSERT INTO {name}({name}) VALUES (?)", (app.rng.choice(("optimize", "rebuild")),))
