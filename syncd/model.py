"""The nouns that every layer shares. No I/O, no clock.

- A page number counts from 1, as in SQLite's file format.
- Times are whole milliseconds since the Unix epoch, UTC.
- A digest is that of the whole database; see `Digest` for the formula.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from typing_extensions import override

MIN_PAGE_SIZE: Final = 512
MAX_PAGE_SIZE: Final = 65536
MAX_PAGE_COUNT: Final = 0xFFFFFFFE  # SQLITE_MAX_PAGE_COUNT, sqlite.org/limits.html


def is_page_size(size: int) -> bool:
    """Whether `size` is one that SQLite's file format allows (sqlite.org/fileformat2.html, 1.3.2)."""
    return MIN_PAGE_SIZE <= size <= MAX_PAGE_SIZE and size.bit_count() == 1


@dataclass(frozen=True, slots=True)
class Digest:
    """The whole-database digest: the sum, modulo 2**256, of SHA-256(number || image) over all pages.

    `number` is the page number as 4 bytes, big-endian. The sum does not depend on order and is kept
    up to date in time proportional to the pages that changed. It finds mistakes, not attackers: it is
    stored only inside sealed and signed objects, which answer for authenticity (see adr/0002).
    """

    value: int = 0

    @classmethod
    def parse(cls, raw: bytes) -> "Digest":
        """Read the 32-byte big-endian spelling. Raises ValueError on any other length."""
        if len(raw) != 32:
            raise ValueError(f"a digest has 32 bytes, not {len(raw)}")
        return cls(int.from_bytes(raw))

    def __bytes__(self) -> bytes:
        return self.value.to_bytes(32)

    @override
    def __str__(self) -> str:
        return bytes(self).hex()

    def replace(
        self, removed: Iterable[tuple[int, bytes]] = (), added: Iterable[tuple[int, bytes]] = ()
    ) -> "Digest":
        """The digest after pages (number, image) were removed and added."""
        total = self.value
        for number, image in removed:
            total -= page_hash(number, image)
        for number, image in added:
            total += page_hash(number, image)
        return Digest(total % (1 << 256))


def page_hash(number: int, image: bytes | memoryview) -> int:
    """One page's term of the sum: SHA-256 over the 4-byte big-endian number and the image."""
    h = hashlib.sha256(number.to_bytes(4))
    h.update(image)
    return int.from_bytes(h.digest())


def format_time(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. 2026-11-23T10:00:00.000Z."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """Read an RFC 3339 / ISO 8601 time; a time without an offset is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
