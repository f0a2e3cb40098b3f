"""The manifest of a snapshot: which pack holds which page. Clear, because pruning has no private key.

- Runs stand in page order and cover pages 1 to `page_count` exactly once; the first page of a run is
  therefore not stored.
- A run lies within its pack; each pack is listed once and used by a run.
- The whole-database digest is sealed (it would tell whether two databases are equal), its context is
  the body before it. The signature covers body and sealed digest.
- Decoding and encoding again gives the same bytes: the body is never stored beside the manifest.
"""

from dataclasses import dataclass
from typing import Final

from syncd.errors import ArchiveError
from syncd.format.names import (
    GENERATION_BYTES,
    MAX_EPOCH,
    MAX_SEQ,
    PACK_ID_BYTES,
    check_database,
    generation_bytes,
    generation_text,
)
from syncd.format.runs import Runs, decode_runs, encode_runs
from syncd.format.wire import MAX_VARINT, SIGNATURE_BYTES, ObjectKind, Reader, check_ms, header, varint
from syncd.model import MAX_PAGE_COUNT, MAX_PAGE_SIZE, MIN_PAGE_SIZE, is_page_size

MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PackRef:
    """A pack as the manifest knows it: id, size and SHA-256 of the object, number of pages in it, its epoch.

    So who prunes knows which epochs are needed, and need not read packs.
    """

    pack_id: bytes
    size: int
    sha256: bytes
    pages: int
    epoch: int

    def __post_init__(self) -> None:
        if len(self.pack_id) != PACK_ID_BYTES or len(self.sha256) != SHA256_BYTES:
            raise ValueError("a pack has an id of 16 bytes and a SHA-256 of 32")
        if not 0 < self.size <= MAX_VARINT or not 0 < self.pages <= MAX_PAGE_COUNT:
            raise ValueError("a pack is empty or impossibly large")
        if not 0 <= self.epoch <= MAX_EPOCH:
            raise ValueError(f"a pack has no epoch {self.epoch}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A snapshot: the whole database after delta `seq`.

    `captured_ms` is when that state was captured, `created_ms` when the snapshot was finished; `epoch`
    is that of the sealed digest (a pack names its own).
    """

    database: str
    generation: str
    seq: int
    epoch: int
    captured_ms: int
    created_ms: int
    page_size: int
    page_count: int
    packs: tuple[PackRef, ...]
    runs: Runs
    sealed_digest: bytes = b""

    def __post_init__(self) -> None:
        check_database(self.database)
        generation_bytes(self.generation)
        if not 0 <= self.seq <= MAX_SEQ:
            raise ValueError(f"{self.seq} is no sequence number")
        if not 0 <= self.epoch <= MAX_EPOCH:
            raise ValueError(f"{self.epoch} is no epoch")
        check_ms(self.captured_ms)
        check_ms(self.created_ms)
        if not is_page_size(self.page_size):
            raise ValueError(f"{self.page_size} is no page size")
        if not 0 <= self.page_count <= MAX_PAGE_COUNT:
            raise ValueError(f"{self.page_count} is no number of pages")
        self._check_map()

    def _check_map(self) -> None:
        if len({pack.pack_id for pack in self.packs}) != len(self.packs):
            raise ValueError("a pack is listed twice")
        self.runs.check(self.page_count, (pack.pages for pack in self.packs))


def encode_manifest_body(manifest: Manifest) -> bytes:
    """Everything before the sealed digest."""
    database = manifest.database.encode()
    out = bytearray(header(ObjectKind.MANIFEST))
    out += varint(len(database)) + database
    out += generation_bytes(manifest.generation)
    for value in (manifest.seq, manifest.epoch, manifest.captured_ms, manifest.created_ms):
        out += varint(value)
    out.append(manifest.page_size.bit_length() - 1)
    out += varint(manifest.page_count)
    out += varint(len(manifest.packs))
    for pack in manifest.packs:
        out += pack.pack_id + varint(pack.size) + pack.sha256 + varint(pack.pages) + varint(pack.epoch)
    out += varint(len(manifest.runs))
    return bytes(out) + encode_runs(manifest.runs)


def signed_part(body: bytes, sealed_digest: bytes) -> bytes:
    """The bytes that the signature covers."""
    return body + varint(len(sealed_digest)) + sealed_digest


def encode_manifest(body: bytes, sealed_digest: bytes, signature: bytes) -> bytes:
    """The object of a manifest. Raises ValueError."""
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    raw = signed_part(body, sealed_digest) + signature
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ValueError(f"a manifest has {len(raw)} bytes, more than {MAX_MANIFEST_BYTES}")
    return raw


def decode_manifest(raw: bytes) -> tuple[Manifest, bytes, bytes]:
    """The manifest, the bytes that were signed, and the signature (not checked). Raises ArchiveError."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ArchiveError(f"the manifest has {len(raw)} bytes, more than {MAX_MANIFEST_BYTES}")
    reader = Reader(raw, "the manifest")
    reader.header(ObjectKind.MANIFEST)
    try:
        manifest = _decode_fields(reader)
    except ValueError as error:
        raise reader.broken(str(error)) from error
    signed = raw[: reader.at]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return manifest, signed, signature


def _decode_fields(reader: Reader) -> Manifest:
    database = reader.sized().decode("ascii")
    generation = generation_text(reader.take(GENERATION_BYTES))
    seq, epoch, captured_ms, created_ms = (reader.varint() for _ in range(4))
    log2 = reader.byte()
    if not MIN_PAGE_SIZE <= 1 << log2 <= MAX_PAGE_SIZE:
        raise ValueError(f"2**{log2} is no page size")
    page_count = reader.varint()
    packs = tuple(
        PackRef(
            reader.take(PACK_ID_BYTES),
            size=reader.varint(),
            sha256=reader.take(SHA256_BYTES),
            pages=reader.varint(),
            epoch=reader.varint(),
        )
        for _ in range(reader.count())
    )
    runs = decode_runs(reader, reader.count())
    return Manifest(
        database=database,
        generation=generation,
        seq=seq,
        epoch=epoch,
        captured_ms=captured_ms,
        created_ms=created_ms,
        page_size=1 << log2,
        page_count=page_count,
        packs=packs,
        runs=runs,
        sealed_digest=reader.sized(),
    )
