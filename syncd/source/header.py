"""The first 100 bytes of a SQLite database (sqlite.org/fileformat2.html, section 1.3).

- Only what capture needs: page size, change counter, journal mode.
- Anything that is not a SQLite 3 database is a SourceError that says what was found.
"""

from dataclasses import dataclass
from typing import Final

from syncd.errors import SourceError
from syncd.model import is_page_size

HEADER_SIZE: Final = 100
MAGIC: Final = b"SQLite format 3\0"
WAL_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a database says of the file."""

    page_size: int
    change_counter: int
    wal: bool


def parse_header(raw: bytes, path: object) -> Header:
    """Read a database header. Raises SourceError naming `path` where it is not one."""
    if not raw:
        raise SourceError(
            f"{path} is empty, not yet a SQLite database",
            hint="it is captured as soon as the application writes to it",
        )
    if len(raw) < HEADER_SIZE or not raw.startswith(MAGIC):
        raise SourceError(
            f"{path} is not a SQLite 3 database",
            hint="check the path; an encrypted database (SQLCipher) cannot be captured",
        )
    field = int.from_bytes(raw[16:18])
    page_size = 65536 if field == 1 else field
    if not is_page_size(page_size):
        raise SourceError(
            f"{path} has the impossible page size {field}",
            hint="the file is damaged: run `sqlite3 FILE .recover`",
        )
    return Header(
        page_size=page_size,
        change_counter=int.from_bytes(raw[24:28]),
        wal=raw[18] == WAL_VERSION,
    )
