"""A bundle: consecutive sealed deltas in one signed object.

- What is sealed stays opaque here; what is clear says where it belongs: database, generation, seqs, and
  the time of the newest change in it.
- The signature is the last 64 bytes and covers all bytes before it. With it a bundle is a head: the
  daemon's word that the generation reached its last seq.
- The same deltas give the same bytes: what is put together again after a lost answer is no other object.
- One without deltas is a closing: whoever takes an archive over creates it under the name of the next bundle,
  so that whoever wrote the generation finds that name used.
- An invalid Bundle cannot be made: the constructor raises ValueError, the decoder ArchiveError.
"""

from dataclasses import dataclass
from typing import Final

from syncd.errors import ArchiveError
from syncd.format.delta import SealedDelta
from syncd.format.names import (
    GENERATION_BYTES,
    MAX_EPOCH,
    MAX_SEQ,
    check_database,
    generation_bytes,
    generation_text,
)
from syncd.format.wire import SIGNATURE_BYTES, ObjectKind, Reader, check_ms, header, varint

MAX_BUNDLE_BYTES: Final = 64 * 1024 * 1024
MAX_CLOSING_BYTES: Final = 192  # what has a delta is larger: its digest, sealed, takes 115 bytes and more


@dataclass(frozen=True, slots=True)
class Bundle:
    """Deltas of one generation of one database, in order and without a gap.

    `captured_ms` is when the last change of the last delta was seen; of a closing, that of the state it
    follows. `closes` is the seq that a closing is named by, None where there are deltas.
    """

    database: str
    generation: str
    captured_ms: int
    deltas: tuple[SealedDelta, ...]
    closes: int | None = None

    def __post_init__(self) -> None:
        check_database(self.database)
        generation_bytes(self.generation)
        check_ms(self.captured_ms)
        if bool(self.deltas) is (self.closes is not None):
            raise ValueError("a bundle has deltas, or it closes its generation")
        if self.closes is not None and not 1 <= self.closes <= MAX_SEQ:
            raise ValueError(f"no delta has seq {self.closes}")
        for seq, delta in enumerate(self.deltas, self.first_seq):
            if delta.seq != seq:
                raise ValueError(f"delta {delta.seq} stands where {seq} belongs")

    @property
    def first_seq(self) -> int:
        """The seq of the first delta, which names the object; of a closing, that which follows the end."""
        return self.deltas[0].seq if self.closes is None else self.closes

    @property
    def last_seq(self) -> int:
        """The seq of the last delta; of a closing, that of the state it follows."""
        return self.first_seq + len(self.deltas) - 1


def encode_bundle_body(bundle: Bundle) -> bytes:
    """Everything before the signature: what is signed. Raises ValueError."""
    database = bundle.database.encode()
    out = bytearray(header(ObjectKind.DELTAS))
    out += varint(len(database)) + database
    out += generation_bytes(bundle.generation)
    out += varint(bundle.first_seq) + varint(bundle.captured_ms)
    out += varint(len(bundle.deltas))
    for delta in bundle.deltas:
        out += varint(delta.epoch) + varint(len(delta.sealed)) + delta.sealed
    if len(out) + SIGNATURE_BYTES > MAX_BUNDLE_BYTES:
        raise ValueError(f"a bundle has {len(out) + SIGNATURE_BYTES} bytes, more than {MAX_BUNDLE_BYTES}")
    return bytes(out)


def decode_bundle(raw: bytes) -> tuple[Bundle, bytes, bytes]:
    """The bundle, the bytes that are signed, and the signature (not checked). Raises ArchiveError."""
    if len(raw) > MAX_BUNDLE_BYTES:
        raise ArchiveError(f"the bundle of deltas has {len(raw)} bytes, more than {MAX_BUNDLE_BYTES}")
    reader = Reader(raw, "the bundle of deltas")
    reader.header(ObjectKind.DELTAS)
    try:
        database = reader.sized().decode("ascii")
        generation = generation_text(reader.take(GENERATION_BYTES))
        first = reader.varint(most=MAX_SEQ)
        captured_ms = reader.varint()
        count = reader.count()
        if first + count - 1 > MAX_SEQ:
            raise reader.broken("its sequence numbers pass the largest one")
        deltas = tuple(
            SealedDelta(first + index, reader.varint(most=MAX_EPOCH), reader.sized())
            for index in range(count)
        )
        bundle = Bundle(database, generation, captured_ms, deltas, None if deltas else first)
    except ValueError as error:
        raise reader.broken(str(error)) from error
    signed = raw[: reader.at]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return bundle, signed, signature
