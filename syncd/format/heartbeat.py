"""A heartbeat: the daemon's word that at some time an archive was as far as it says, and nothing new came.

- The signature is the last 64 bytes and covers all bytes before it.
- An invalid Heartbeat cannot be made: the constructor raises ValueError, the decoder ArchiveError.
"""

from dataclasses import dataclass

from syncd.format.names import GENERATION_BYTES, MAX_SEQ, check_database, generation_bytes, generation_text
from syncd.format.wire import SIGNATURE_BYTES, ObjectKind, Reader, check_ms, header, varint


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """At `time_ms`, `seq` was the last of the generation that the target had, and all there was."""

    database: str
    generation: str
    seq: int
    time_ms: int

    def __post_init__(self) -> None:
        check_database(self.database)
        generation_bytes(self.generation)
        if not 0 <= self.seq <= MAX_SEQ:
            raise ValueError(f"{self.seq} is no sequence number")
        check_ms(self.time_ms)


def encode_heartbeat_body(beat: Heartbeat) -> bytes:
    """Everything before the signature: what is signed."""
    database = beat.database.encode()
    out = header(ObjectKind.HEARTBEAT) + varint(len(database)) + database
    return out + generation_bytes(beat.generation) + varint(beat.seq) + varint(beat.time_ms)


def decode_heartbeat(raw: bytes) -> tuple[Heartbeat, bytes, bytes]:
    """The heartbeat, the bytes that are signed, and the signature (not checked). Raises ArchiveError."""
    reader = Reader(raw, "the heartbeat")
    reader.header(ObjectKind.HEARTBEAT)
    try:
        beat = Heartbeat(
            reader.sized().decode("ascii"),
            generation_text(reader.take(GENERATION_BYTES)),
            reader.varint(),
            reader.varint(),
        )
    except ValueError as error:
        raise reader.broken(str(error)) from error
    signed = raw[: reader.at]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return beat, signed, signature
