"""A claim: a daemon's word that from now on it is the one that writes a database's archive.

- Claims are numbered from 1 without a gap, and each number is created once: of two daemons that want the same
  one, one gets it.
- One that begins says which generation its daemon writes. One that takes over comes before: it ends what was
  claimed until then, and nothing is written under it but what closes those generations.
- The daemon is 16 bytes that tell two of them apart and nothing else; its host's name is for people.
- The signature is the last 64 bytes and covers all bytes before it.
- An invalid Claim cannot be made: the constructor raises ValueError, the decoder ArchiveError.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from syncd.format.names import (
    GENERATION_BYTES,
    MAX_CLAIM,
    check_database,
    generation_bytes,
    generation_text,
)
from syncd.format.wire import SIGNATURE_BYTES, ObjectKind, Reader, check_ms, header, varint

DAEMON_BYTES: Final = 16
MAX_HOST_BYTES: Final = 255
MAX_CLAIM_BYTES: Final = 1024


class Act(Enum):
    """What a claim does."""

    BEGIN = 1
    TAKE_OVER = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim `number` of a database: what a daemon did at `time_ms`, for its generation."""

    database: str
    number: int
    act: Act
    generation: str
    daemon: bytes
    host: str
    time_ms: int

    def __post_init__(self) -> None:
        check_database(self.database)
        if not 1 <= self.number <= MAX_CLAIM:
            raise ValueError(f"{self.number} is no number of a claim")
        generation_bytes(self.generation)
        if len(self.daemon) != DAEMON_BYTES:
            raise ValueError(f"a daemon is {DAEMON_BYTES} bytes, not {len(self.daemon)}")
        if len(self.host.encode()) > MAX_HOST_BYTES or not self.host.isprintable():
            raise ValueError(f"the host's name is longer than {MAX_HOST_BYTES} bytes, or not printable")
        check_ms(self.time_ms)


def encode_claim_body(claim: Claim) -> bytes:
    """Everything before the signature: what is signed."""
    database, host = claim.database.encode(), claim.host.encode()
    out = header(ObjectKind.CLAIM) + varint(len(database)) + database
    out += varint(claim.number) + bytes((claim.act.value,)) + generation_bytes(claim.generation)
    return out + claim.daemon + varint(len(host)) + host + varint(claim.time_ms)


def decode_claim(raw: bytes) -> tuple[Claim, bytes, bytes]:
    """The claim, the bytes that are signed, and the signature (not checked). Raises ArchiveError."""
    reader = Reader(raw[: MAX_CLAIM_BYTES + 1], "the claim")
    reader.header(ObjectKind.CLAIM)
    try:
        claim = Claim(
            reader.sized().decode("ascii"),
            reader.varint(most=MAX_CLAIM),
            Act(reader.byte()),
            generation_text(reader.take(GENERATION_BYTES)),
            reader.take(DAEMON_BYTES),
            reader.sized().decode(),
            reader.varint(),
        )
    except ValueError as error:
        raise reader.broken(str(error)) from error
    signed = raw[: reader.at]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return claim, signed, signature
