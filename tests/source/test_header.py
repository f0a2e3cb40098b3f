import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncd.errors import SourceError
from syncd.source.header import HEADER_SIZE, parse_header


def made(path: Path, *pragmas: str) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        for pragma in (*pragmas, "user_version=1"):
            connection.execute(f"PRAGMA {pragma}")
    return path.read_bytes()[:HEADER_SIZE]


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_every_page_size(tmp_path: Path, size: int) -> None:
    header = parse_header(made(tmp_path / "a.db", f"page_size={size}"), "a.db")
    assert (header.page_size, header.wal) == (size, False)
    assert header.change_counter == 1


def test_the_journal_mode(tmp_path: Path) -> None:
    assert parse_header(made(tmp_path / "a.db", "journal_mode=wal"), "a.db").wal


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "a.db is empty, not yet a SQLite database"),
        (b"SQLite format 3\0", "a.db is not a SQLite 3 database"),
        (b"SQLite format 2\0" + bytes(84), "a.db is not a SQLite 3 database"),
        (b"SQLite format 3\0" + b"\x03\xe8" + bytes(82), "impossible page size 1000"),
        (b"SQLite format 3\0" + bytes(84), "impossible page size 0"),
    ],
)
def test_what_is_no_database(raw: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse_header(raw, "a.db")
