"""Marks: small objects beside the generations that say what must stay, and what is about to go.

- A hold (signed) and a lease (not signed: who restores has no signing key) keep ranges of positions for
  a time. A tombstone lists names that were found superfluous.
- Everything in them is clear, the reason of a hold too.
- A tombstone is not signed: who can write one can delete as well, and prune decides anew before it does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from syncd.errors import ArchiveError
from syncd.format.names import (
    GENERATION_BYTES,
    MAX_SEQ,
    check_database,
    generation_bytes,
    generation_text,
    is_object,
)
from syncd.format.wire import SIGNATURE_BYTES, ObjectKind, Reader, check_ms, header, varint

MAX_MARK_BYTES: Final = 1024 * 1024
MAX_TOMBSTONE_BYTES: Final = 64 * 1024 * 1024
MAX_REASON_BYTES: Final = 1000


class Purpose(Enum):
    """What a mark is for. A hold is an object of its own kind; the others are leases."""

    HOLD = 0
    RESTORE = 1
    SNAPSHOT = 2
    PRUNE = 3


@dataclass(frozen=True, slots=True)
class Range:
    """Positions first_seq to last_seq of one generation, both included."""

    generation: str
    first_seq: int
    last_seq: int

    def __post_init__(self) -> None:
        generation_bytes(self.generation)
        if not 0 <= self.first_seq <= self.last_seq <= MAX_SEQ:
            raise ValueError(f"{self.first_seq} to {self.last_seq} is no range of positions")


@dataclass(frozen=True, slots=True)
class Mark:
    """A hold or a lease: `ranges` stay from `created_ms` until just before `until_ms`."""

    database: str
    mark_id: str
    purpose: Purpose
    created_ms: int
    until_ms: int
    reason: str
    ranges: tuple[Range, ...]

    def __post_init__(self) -> None:
        check_database(self.database)
        generation_bytes(self.mark_id)
        check_ms(self.created_ms)
        check_ms(self.until_ms)
        if self.until_ms < self.created_ms:
            raise ValueError("it ends before it begins")
        if len(self.reason.encode()) > MAX_REASON_BYTES or not self.reason.isprintable():
            raise ValueError(f"the reason is longer than {MAX_REASON_BYTES} bytes, or not printable")
        if self.purpose is Purpose.HOLD and not self.reason.strip():
            raise ValueError("a hold needs a reason")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Names, strictly increasing, of objects that were found superfluous at `created_ms`."""

    created_ms: int
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_ms(self.created_ms)
        if any(one >= other for one, other in pairwise(self.names)):
            raise ValueError("the names are not strictly increasing")
        for name in self.names:
            if not is_object(name):
                raise ValueError(f"{name!r} is no name of an object that can go")


def encode_mark(mark: Mark) -> bytes:
    """A lease; of a hold, everything before its signature. Raises ValueError."""
    hold = mark.purpose is Purpose.HOLD
    database, reason = mark.database.encode(), mark.reason.encode()
    out = bytearray(header(ObjectKind.HOLD if hold else ObjectKind.LEASE))
    out += varint(len(database)) + database + generation_bytes(mark.mark_id)
    if not hold:
        out.append(mark.purpose.value)
    out += varint(mark.created_ms) + varint(mark.until_ms)
    out += varint(len(reason)) + reason
    out += varint(len(mark.ranges))
    for each in mark.ranges:
        out += generation_bytes(each.generation) + varint(each.first_seq) + varint(each.last_seq)
    if len(out) + SIGNATURE_BYTES > MAX_MARK_BYTES:
        raise ValueError(f"a mark of {len(mark.ranges)} ranges is too large")
    return bytes(out)


def decode_hold(raw: bytes) -> tuple[Mark, bytes, bytes]:
    """The hold, the bytes that were signed, and the signature (not checked). Raises ArchiveError."""
    reader = _reader(raw, "the hold", MAX_MARK_BYTES)
    reader.header(ObjectKind.HOLD)
    mark = _decode(reader, hold=True)
    signed = raw[: reader.at]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return mark, signed, signature


def decode_lease(raw: bytes) -> Mark:
    """The lease. Raises ArchiveError."""
    reader = _reader(raw, "the lease", MAX_MARK_BYTES)
    reader.header(ObjectKind.LEASE)
    mark = _decode(reader, hold=False)
    reader.end()
    return mark


def encode_tombstone(tombstone: Tombstone) -> bytes:
    """The object of a tombstone. Raises ValueError."""
    out = bytearray(header(ObjectKind.TOMBSTONE))
    out += varint(tombstone.created_ms) + varint(len(tombstone.names))
    for name in tombstone.names:
        out += varint(len(name)) + name.encode()
    if len(out) > MAX_TOMBSTONE_BYTES:
        raise ValueError(f"a tombstone of {len(tombstone.names)} names is too large")
    return bytes(out)


def decode_tombstone(raw: bytes) -> Tombstone:
    """The tombstone. Raises ArchiveError."""
    reader = _reader(raw, "the tombstone", MAX_TOMBSTONE_BYTES)
    reader.header(ObjectKind.TOMBSTONE)
    try:
        created_ms = reader.varint()
        names = tuple(reader.sized().decode("ascii") for _ in range(reader.count()))
        tombstone = Tombstone(created_ms, names)
    except ValueError as error:
        raise reader.broken(str(error)) from error
    reader.end()
    return tombstone


def tombstone_of(created_ms: int, names: Iterable[str]) -> Tombstone:
    """A tombstone of `names` in any order. Raises ValueError."""
    return Tombstone(created_ms, tuple(sorted(names)))


def _reader(raw: bytes, what: str, most: int) -> Reader:
    if len(raw) > most:
        raise ArchiveError(f"{what} has {len(raw)} bytes, more than {most}")
    return Reader(raw, what)


def _lease(number: int) -> Purpose:
    if number == Purpose.HOLD.value:
        raise ValueError("a lease is no hold")
    return Purpose(number)


def _decode(reader: Reader, *, hold: bool) -> Mark:
    try:
        database = reader.sized().decode("ascii")
        mark_id = generation_text(reader.take(GENERATION_BYTES))
        purpose = Purpose.HOLD if hold else _lease(reader.byte())
        created_ms, until_ms = reader.varint(), reader.varint()
        reason = reader.sized().decode()
        ranges = tuple(
            Range(generation_text(reader.take(GENERATION_BYTES)), reader.varint(), reader.varint())
            for _ in range(reader.count())
        )
        return Mark(database, mark_id, purpose, created_ms, until_ms, reason, ranges)
    except ValueError as error:
        raise reader.broken(str(error)) from error
