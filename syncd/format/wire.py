"""The alphabet of every object: its first eight bytes, varints, and a reader that cannot overrun.

- An object starts with `syncd`, its kind, its version (1) and a zero byte.
- An integer is an unsigned LEB128 varint of at most 64 bits in its shortest spelling: one value, one
  spelling, so that decoding and encoding again gives the same bytes.
- Whatever is malformed raises ArchiveError; a newer version raises FormatVersionError.
"""

from enum import Enum
from typing import Final

from syncd.errors import ArchiveError, FormatVersionError

MAGIC: Final = b"syncd"
VERSION: Final = 1
MAX_VARINT: Final = (1 << 64) - 1
SIGNATURE_BYTES: Final = 64  # Ed25519; every signature ends its object
MAX_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last moment RFC 3339 can spell


class ObjectKind(Enum):
    """What an object is: the sixth byte of its header."""

    DELTAS = b"D"
    PACK = b"P"
    MANIFEST = b"M"
    EPOCH = b"E"
    HOLD = b"H"
    LEASE = b"L"
    TOMBSTONE = b"T"
    HEARTBEAT = b"B"
    CLAIM = b"C"


def header(kind: ObjectKind) -> bytes:
    """The eight bytes that every object of that kind starts with."""
    return MAGIC + kind.value + bytes((VERSION, 0))


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, least significant first. Raises ValueError outside 64 bits."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} does not fit into an unsigned 64-bit integer")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def check_ms(value: int) -> None:
    """Raise ValueError where `value` is not a time between 1970 and 9999."""
    if not 0 <= value <= MAX_MS:
        raise ValueError(f"{value} ms is no time between the years 1970 and 9999")


class Reader:
    """Takes bytes off the front of `raw`; `what` names it in errors."""

    __slots__ = ("_at", "_raw", "_what")

    def __init__(self, raw: bytes, what: str) -> None:
        self._raw = raw
        self._at = 0
        self._what = what

    @property
    def at(self) -> int:
        """How many bytes were taken."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes are left. A count of items cannot be larger: each takes a byte."""
        return len(self._raw) - self._at

    def broken(self, reason: str) -> ArchiveError:
        """The error to raise for what was read last."""
        return ArchiveError(f"{self._what} is malformed before byte {self._at}: {reason}")

    def header(self, kind: ObjectKind) -> None:
        """Take and check the eight bytes of `header`."""
        magic = self.take(len(MAGIC))
        found = self.take(1)
        if magic != MAGIC or found != kind.value:
            raise self.broken(f"it does not start as a syncd object of kind {kind.name.lower()} does")
        version = self.byte()
        if version != VERSION:
            raise FormatVersionError(
                f"{self._what} has format version {version}, this syncd reads version {VERSION}",
                hint="upgrade syncd",
            )
        if self.byte() != 0:
            raise self.broken("the reserved byte is not zero")

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self.left:
            raise self.broken(f"it ends {size - self.left} bytes early")
        self._at += size
        return self._raw[self._at - size : self._at]

    def varint(self, *, most: int = MAX_VARINT) -> int:
        """The next integer, not above `most`."""
        if self._at < len(self._raw) and (value := self._raw[self._at]) <= min(0x7F, most):
            self._at += 1  # one byte, as nearly all of them are: a restore reads millions
            return value
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte <= 0x7F:
                if byte == 0 and shift:
                    raise self.broken("an integer is not in its shortest spelling")
                if value > most:
                    raise self.broken(f"{value} is above the limit of {most}")
                return value
        raise self.broken("an integer has more than 64 bits")

    def count(self) -> int:
        """The next integer, as a number of items that follow."""
        value = self.varint()
        if value > self.left:
            raise self.broken(f"{value} items cannot follow in {self.left} bytes")
        return value

    def sized(self) -> bytes:
        """The next bytes, after their length as an integer."""
        return self.take(self.varint(most=self.left))

    def peek(self) -> memoryview:
        """All that is left, not taken."""
        return memoryview(self._raw)[self._at :]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Raise ArchiveError where something is left."""
        if self.left:
            raise self.broken(f"{self.left} bytes follow that belong to nothing")
