"""What a random history writes into: database headers, tables, values. All of it decided by the given Random.

- A table's name tells its kind (`r` rowid, `w` WITHOUT ROWID, `g` generated columns, `f` FTS5): everything
  else is read from SQLite's own schema, so that an application that was killed can carry on.
- Keys come from a small domain and rows replace each other: a history may be long, its database stays small.
"""

import sqlite3
import struct
from dataclasses import dataclass
from random import Random

PAGE_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
ENCODINGS = ("UTF-8", "UTF-16le", "UTF-16be")
KEYS = 120
WORDS = (
    "ship",
    "delta",
    "page",
    "naïve",
    "frame",
    "shadow",
    "über",
    "chat",
    "reply",
    "tail",
    "日本",
    "epoch",
)

Value = str | bytes | int | float | None


@dataclass(frozen=True, slots=True)
class Birth:
    """What can only be chosen before the first table exists."""

    page_size: int
    reserved: int
    encoding: int  # as in the header: index into ENCODINGS, plus one
    auto_vacuum: int

    @classmethod
    def draw(cls, rng: Random, *, page_size: int | None = None, reserved: int | None = None) -> "Birth":
        if page_size is None:
            page_size = rng.choice(PAGE_SIZES)
        if reserved is None:
            reserved = rng.choice((0, 0, 0, 0, 8, 12, 32, 250 if page_size > 512 else 32))
        return cls(page_size, reserved, rng.choice((1, 1, 1, 2, 3)), rng.choice((0, 0, 1, 2)))

    def template(self) -> bytes:
        """A valid database of one page and no table.

        By hand, because no PRAGMA reserves bytes at a page's end and Python does not pass on
        sqlite3_file_control. Layout: sqlite.org/fileformat2.html, sections 1.3 and 1.6.
        """
        page = bytearray(self.page_size)
        page[0:16] = b"SQLite format 3\0"
        struct.pack_into(">H", page, 16, 1 if self.page_size == 65536 else self.page_size)
        page[18:24] = bytes((1, 1, self.reserved, 64, 32, 32))
        struct.pack_into(">II", page, 24, 1, 1)  # change counter, size in pages
        struct.pack_into(">I", page, 44, 4)  # schema format
        struct.pack_into(">I", page, 52, 1 if self.auto_vacuum else 0)  # largest root page
        struct.pack_into(">I", page, 56, self.encoding)
        struct.pack_into(">I", page, 64, 1 if self.auto_vacuum == 2 else 0)
        major, minor, patch = sqlite3.sqlite_version_info
        struct.pack_into(">II", page, 92, 1, major * 1_000_000 + minor * 1000 + patch)
        page[100] = 13  # an empty leaf of a table b-tree; its cells would start where the reserved bytes do
        struct.pack_into(">H", page, 105, (self.page_size - self.reserved) & 0xFFFF)
        return bytes(page)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as found in the schema. `key` is its integer key, `columns` all others that can be written."""

    name: str
    key: str
    columns: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.name[0]

    @property
    def is_fts(self) -> bool:
        return self.kind == "f"


def tables(conn: sqlite3.Connection) -> list[Table]:
    """The history's tables, in an order that depends on their names only."""
    names = [
        name
        for schema, name, kind in conn.execute(
            "SELECT schema, name, type FROM pragma_table_list ORDER BY name"
        )
        if schema == "main" and kind in {"table", "virtual"} and not name.startswith("sqlite_")
    ]
    found = []
    for name in names:
        columns = conn.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,)).fetchall()
        key = "rowid" if name[0] == "f" else "id"
        found.append(Table(name, key, tuple(column for (column,) in columns if column != key)))
    return found


def indexes(conn: sqlite3.Connection) -> list[str]:
    """Indexes that a CREATE INDEX made."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'x%' ORDER BY name"
    return [name for (name,) in conn.execute(sql)]


def create_table(rng: Random, name: str) -> str:
    """The CREATE TABLE of a table of the kind that its name says."""
    match name[0]:
        case "w":
            return f"CREATE TABLE {name}(id INTEGER, k TEXT, a, b TEXT, PRIMARY KEY(id, k)) WITHOUT ROWID"
        case "g":
            kind = rng.choice(("VIRTUAL", "STORED"))
            return (
                f"CREATE TABLE {name}(id INTEGER PRIMARY KEY, a TEXT, b,"
                f" n INTEGER GENERATED ALWAYS AS (length(a)) {kind})"
            )
        case "f":
            detail = rng.choice(("full", "column", "none"))
            return f"CREATE VIRTUAL TABLE {name} USING fts5(a, b, detail={detail})"
        case _:
            unique = rng.choice(("", "", " UNIQUE"))
            increment = rng.choice(("", "", " AUTOINCREMENT"))
            return f"CREATE TABLE {name}(id INTEGER PRIMARY KEY{increment}, a TEXT, b, c INTEGER{unique})"


def create_index(rng: Random, name: str, table: Table) -> str:
    """A simple, composite, expression or partial index."""
    one, two = rng.choice(table.columns), rng.choice(table.columns)
    shape = rng.choice(
        (
            f"({one})",
            f"({one}, {two} DESC)",
            f"(length({one}), {table.key})",
            f"(substr({one}, 1, 20)) WHERE {table.key} % 3 = 0",
            f"({one} COLLATE NOCASE, {table.key}) WHERE {two} IS NOT NULL",
        )
    )
    return f"CREATE INDEX {name} ON {table.name}{shape}"


def text(rng: Random, size: int) -> str:
    """Words, about `size` bytes."""
    return " ".join(rng.choices(WORDS, k=1 + size // 6))


def value(rng: Random, column: str, size: int) -> Value:
    """Something for a column of this name; most are of about `size` bytes."""
    if column == "c":
        return rng.choice((None, rng.randrange(KEYS), rng.getrandbits(40)))
    if column in {"a", "k"}:
        return text(rng, min(size, 40) if column == "k" else size)
    draw = rng.random()
    if draw < 0.4:
        return text(rng, size)
    if draw < 0.8:
        return rng.randbytes(size)
    return rng.choice((None, 0, rng.getrandbits(60), rng.random()))


def put(conn: sqlite3.Connection, rng: Random, table: Table, size: int) -> None:
    """Insert a row, or replace those that it collides with."""
    names = ", ".join((table.key, *table.columns))
    marks = ", ".join("?" * (1 + len(table.columns)))
    row = (rng.randrange(KEYS), *(value(rng, column, size) for column in table.columns))
    conn.execute(f"INSERT OR REPLACE INTO {table.name}({names}) VALUES ({marks})", row)


def change(conn: sqlite3.Connection, rng: Random, table: Table, size: int) -> None:
    """Update a column of some neighbouring rows."""
    column = rng.choice(table.columns)
    low = rng.randrange(KEYS)
    sql = f"UPDATE OR REPLACE {table.name} SET {column} = ? WHERE {table.key} BETWEEN ? AND ?"
    conn.execute(sql, (value(rng, column, size), low, low + rng.choice((0, 0, 2))))


def remove(conn: sqlite3.Connection, rng: Random, table: Table, span: int) -> None:
    """Delete a range of keys."""
    low = rng.randrange(KEYS)
    conn.execute(f"DELETE FROM {table.name} WHERE {table.key} BETWEEN ? AND ?", (low, low + span))
