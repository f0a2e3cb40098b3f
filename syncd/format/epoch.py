"""An epoch: one secret, wrapped once per recipient, signed by the daemon.

- Everything is clear but the secret. Who holds an identity finds its wrap by the fingerprint.
- A reader skips a wrap whose KEM it does not know: it is somebody else's.
- The signature is the last 64 bytes and covers all bytes before it.
"""

from dataclasses import dataclass
from typing import Final

from syncd.errors import ArchiveError
from syncd.format.names import (
    GENERATION_BYTES,
    MAX_EPOCH,
    check_database,
    generation_bytes,
    generation_text,
)
from syncd.format.wire import SIGNATURE_BYTES, ObjectKind, Reader, check_ms, header, varint

MAX_EPOCH_BYTES: Final = 1024 * 1024
FINGERPRINT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Wrap:
    """The epoch's secret for one recipient: KEM number, fingerprint, HPKE ciphertext."""

    kem: int
    recipient: bytes
    ciphertext: bytes

    def __post_init__(self) -> None:
        if not 0 < self.kem <= 0xFF:
            raise ValueError(f"{self.kem} is no number of a KEM")
        if len(self.recipient) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.recipient)}")


@dataclass(frozen=True, slots=True)
class EpochObject:
    """An epoch of one generation of one database; `signature` is empty before signing."""

    database: str
    generation: str
    number: int
    created_ms: int
    wraps: tuple[Wrap, ...]
    signature: bytes = b""

    def __post_init__(self) -> None:
        check_database(self.database)
        generation_bytes(self.generation)
        if not 0 <= self.number <= MAX_EPOCH:
            raise ValueError(f"{self.number} is no epoch")
        check_ms(self.created_ms)
        if not self.wraps:
            raise ValueError("an epoch has no recipient")
        if len({wrap.recipient for wrap in self.wraps}) != len(self.wraps):
            raise ValueError("an epoch has the same recipient twice")
        if len(self.signature) not in {0, SIGNATURE_BYTES}:
            raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(self.signature)}")


def encode_epoch_body(epoch: EpochObject) -> bytes:
    """Everything before the signature: what is signed."""
    database = epoch.database.encode()
    out = bytearray(header(ObjectKind.EPOCH))
    out += varint(len(database)) + database
    out += generation_bytes(epoch.generation)
    out += varint(epoch.number) + varint(epoch.created_ms)
    out += varint(len(epoch.wraps))
    for wrap in epoch.wraps:
        out.append(wrap.kem)
        out += wrap.recipient + varint(len(wrap.ciphertext)) + wrap.ciphertext
    return bytes(out)


def encode_epoch(epoch: EpochObject) -> bytes:
    """The object of a signed epoch. Raises ValueError."""
    if not epoch.signature:
        raise ValueError("the epoch is not signed")
    raw = encode_epoch_body(epoch) + epoch.signature
    if len(raw) > MAX_EPOCH_BYTES:
        raise ValueError(f"an epoch has {len(raw)} bytes, more than {MAX_EPOCH_BYTES}")
    return raw


def decode_epoch(raw: bytes) -> tuple[EpochObject, bytes]:
    """The epoch, and the bytes that its signature covers (not checked). Raises ArchiveError."""
    if len(raw) > MAX_EPOCH_BYTES:
        raise ArchiveError(f"the epoch has {len(raw)} bytes, more than {MAX_EPOCH_BYTES}")
    reader = Reader(raw, "the epoch")
    reader.header(ObjectKind.EPOCH)
    try:
        database = reader.sized().decode("ascii")
        generation = generation_text(reader.take(GENERATION_BYTES))
        number = reader.varint()
        created_ms = reader.varint()
        wraps = tuple(
            Wrap(reader.byte(), reader.take(FINGERPRINT_BYTES), reader.sized()) for _ in range(reader.count())
        )
        signed = raw[: reader.at]
        epoch = EpochObject(
            database=database,
            generation=generation,
            number=number,
            created_ms=created_ms,
            wraps=wraps,
            signature=reader.take(SIGNATURE_BYTES),
        )
    except ValueError as error:
        raise reader.broken(str(error)) from error
    reader.end()
    return epoch, signed
