"""Objects of the archive, opened and sealed: where format (bytes) and envelope (keys) meet.

- A reader says what it asked for; an object that says it is something else is refused.
- Every ArchiveError of a reader starts with the object's name.
- Signatures are checked before anything else is believed; sealed bytes are opened whole or not at all.
- Who writes gets ValueError for what cannot be written: that is a defect of the caller.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from syncd.envelope.epoch import (
    EpochKey,
    Kind,
    WrappedSecret,
    delta_label,
    digest_label,
    pack_label,
    seal,
    unseal,
    unwrap_secret,
    wrap_secret,
)
from syncd.envelope.keys import Identity, Recipient, SigningKey, VerifyKey
from syncd.errors import ArchiveError
from syncd.format.bundle import Bundle, decode_bundle, encode_bundle_body
from syncd.format.claim import Claim, decode_claim, encode_claim_body
from syncd.format.delta import Delta, SealedDelta, decode_delta, encode_delta
from syncd.format.epoch import EpochObject, Wrap, decode_epoch, encode_epoch, encode_epoch_body
from syncd.format.heartbeat import Heartbeat, decode_heartbeat, encode_heartbeat_body
from syncd.format.manifest import (
    Manifest,
    decode_manifest,
    encode_manifest,
    encode_manifest_body,
    signed_part,
)
from syncd.format.marks import Mark, Tombstone, decode_hold, decode_lease, decode_tombstone, encode_mark
from syncd.format.names import (
    GENERATIONS,
    claim_name,
    deltas_name,
    epoch_name,
    hold_name,
    lease_name,
    snapshot_name,
    tombstone_name,
)
from syncd.format.pack import decode_pack, decode_pack_content, encode_pack, encode_pack_content
from syncd.model import Digest

_EPOCH_DOMAIN: Final = b"syncd v1 epoch\0"
_BUNDLE_DOMAIN: Final = b"syncd v1 bundle\0"
_MANIFEST_DOMAIN: Final = b"syncd v1 manifest\0"
_HEARTBEAT_DOMAIN: Final = b"syncd v1 heartbeat\0"
_HOLD_DOMAIN: Final = b"syncd v1 hold\0"
_CLAIM_DOMAIN: Final = b"syncd v1 claim\0"


def new_epoch(
    database: str,
    generation: str,
    number: int,
    *,
    created_ms: int,
    recipients: Iterable[Recipient],
    signing_key: SigningKey,
) -> tuple[EpochKey, bytes]:
    """A new epoch key and the object that carries it to its recipients.

    Raises ValueError without recipients or with the same one twice, IdentityError where one is unusable.
    """
    key = EpochKey.generate(database, generation, number)
    epoch = EpochObject(
        database=database,
        generation=generation,
        number=number,
        created_ms=created_ms,
        wraps=tuple(Wrap(w.kem, w.recipient, w.ciphertext) for w in wrap_secret(key, recipients)),
    )
    signature = signing_key.sign(encode_epoch_body(epoch), domain=_EPOCH_DOMAIN)
    return key, encode_epoch(replace(epoch, signature=signature))


def open_epoch(
    raw: bytes,
    *,
    database: str | None,
    generation: str,
    identity: Identity,
    verify_key: VerifyKey,
    number: int | None = None,
) -> EpochKey:
    """The key in an epoch object. Nothing is asked of the database's name where it is None.

    Raises ArchiveError where the object is damaged, forged or another one, IdentityError where it is
    fine but not for this identity.
    """
    name = _epoch_name(generation, number)
    epoch = read_epoch(raw, database=database, generation=generation, verify_key=verify_key, number=number)
    with _naming(name):
        return unwrap_secret(
            epoch.database,
            epoch.generation,
            epoch.number,
            (WrappedSecret(w.kem, w.recipient, w.ciphertext) for w in epoch.wraps),
            identity,
            what=f"epoch {epoch.number}",
        )


def read_epoch(
    raw: bytes, *, database: str | None, generation: str, verify_key: VerifyKey, number: int | None = None
) -> EpochObject:
    """An epoch object whose signature is right; needs no identity. Raises ArchiveError."""
    with _naming(_epoch_name(generation, number)):
        epoch, signed = decode_epoch(raw)
        verify_key.verify(signed, epoch.signature, domain=_EPOCH_DOMAIN, what="the epoch")
        _expect("database", epoch.database, database)
        _expect("generation", epoch.generation, generation)
        _expect("number", epoch.number, number)
        return epoch


def seal_delta(key: EpochKey, seq: int, predecessor: Digest, delta: Delta) -> SealedDelta:
    """Seal a delta that follows a database of digest `predecessor`."""
    sealed = seal(key, Kind.DELTA, delta_label(seq, predecessor), encode_delta(delta))
    return SealedDelta(seq, key.number, sealed)


def open_delta(key: EpochKey, sealed: SealedDelta, predecessor: Digest, name: str) -> Delta:
    """Open a delta. Raises ArchiveError, also where it follows another database than `predecessor`."""
    with _naming(name):
        _expect("epoch", sealed.epoch, key.number)
        label = delta_label(sealed.seq, predecessor)
        return decode_delta(unseal(key, Kind.DELTA, label, sealed.sealed, what=f"delta {sealed.seq}"))


def sign_bundle(signing_key: SigningKey, bundle: Bundle) -> bytes:
    """The object of a bundle; the same bytes each time. Raises ValueError."""
    body = encode_bundle_body(bundle)
    return body + signing_key.sign(body, domain=_BUNDLE_DOMAIN)


def read_bundle(
    raw: bytes, *, generation: str, first_seq: int, database: str | None, verify_key: VerifyKey
) -> Bundle:
    """A bundle whose signature is right; needs no identity. Raises ArchiveError."""
    with _naming(deltas_name(generation, first_seq)):
        bundle, signed, signature = decode_bundle(raw)
        verify_key.verify(signed, signature, domain=_BUNDLE_DOMAIN, what="the bundle")
        _expect("database", bundle.database, database)
        _expect("generation", bundle.generation, generation)
        _expect("first seq", bundle.first_seq, first_seq)
        return bundle


def seal_pack(
    key: EpochKey,
    pack_id: bytes,
    page_size: int,
    numbers: Sequence[int],
    images: bytes | bytearray,
    level: int,
) -> bytes:
    """The object of a pack: these pages, their images concatenated. Raises ValueError."""
    content = encode_pack_content(page_size, numbers, images, level)
    del images  # megabytes that sealing does not need
    return encode_pack(key.number, seal(key, Kind.PACK, pack_label(pack_id), content))


def pack_epoch(raw: bytes, name: str) -> int:
    """The epoch that the clear part of a pack names. Raises ArchiveError."""
    with _naming(name):
        return decode_pack(raw)[0]


def open_pack(
    key_for_epoch: Callable[[int], EpochKey], pack_id: bytes, raw: bytes, name: str
) -> tuple[int, tuple[int, ...], bytes]:
    """Page size, page numbers and concatenated images of a pack. Raises ArchiveError."""
    with _naming(name):
        epoch, sealed = decode_pack(raw)
    key = key_for_epoch(epoch)
    with _naming(name):
        _expect("epoch", epoch, key.number)
        return decode_pack_content(unseal(key, Kind.PACK, pack_label(pack_id), sealed, what="the pack"))


def seal_manifest(key: EpochKey, signing_key: SigningKey, manifest: Manifest, digest: Digest) -> bytes:
    """The object of a manifest (its `sealed_digest` is made here). Raises ValueError for another key's."""
    if (manifest.database, manifest.generation, manifest.epoch) != (key.database, key.generation, key.number):
        raise ValueError("the manifest names another database, generation or epoch than the key")
    body = encode_manifest_body(manifest)
    sealed_digest = seal(key, Kind.DIGEST, digest_label(manifest.seq, body), bytes(digest))
    signature = signing_key.sign(signed_part(body, sealed_digest), domain=_MANIFEST_DOMAIN)
    return encode_manifest(body, sealed_digest, signature)


def read_manifest(
    raw: bytes, *, generation: str, seq: int, database: str | None, verify_key: VerifyKey
) -> Manifest:
    """A manifest whose signature is right; needs no identity. Raises ArchiveError."""
    with _naming(snapshot_name(generation, seq)):
        manifest, signed, signature = decode_manifest(raw)
        verify_key.verify(signed, signature, domain=_MANIFEST_DOMAIN, what="the manifest")
        _expect("database", manifest.database, database)
        _expect("generation", manifest.generation, generation)
        _expect("seq", manifest.seq, seq)
        return manifest


def manifest_digest(key: EpochKey, manifest: Manifest) -> Digest:
    """The digest of the database that the snapshot holds. Raises ArchiveError."""
    with _naming(snapshot_name(manifest.generation, manifest.seq)):
        _expect("epoch", manifest.epoch, key.number)
        label = digest_label(manifest.seq, encode_manifest_body(manifest))
        raw = unseal(key, Kind.DIGEST, label, manifest.sealed_digest, what="the digest")
        try:
            return Digest.parse(raw)
        except ValueError as error:
            raise ArchiveError(f"the digest is malformed: {error}") from error


def _epoch_name(generation: str, number: int | None) -> str:
    return f"{GENERATIONS}{generation}/epochs/..." if number is None else epoch_name(generation, number)


def seal_hold(signing_key: SigningKey, hold: Mark) -> bytes:
    """The object of a hold. Raises ValueError."""
    body = encode_mark(hold)
    return body + signing_key.sign(body, domain=_HOLD_DOMAIN)


def read_hold(raw: bytes, *, mark_id: str, database: str, verify_key: VerifyKey) -> Mark:
    """A hold whose signature is right. Raises ArchiveError."""
    with _naming(hold_name(mark_id)):
        hold, signed, signature = decode_hold(raw)
        verify_key.verify(signed, signature, domain=_HOLD_DOMAIN, what="the hold")
        _expect("database", hold.database, database)
        _expect("id", hold.mark_id, mark_id)
        return hold


def read_lease(raw: bytes, *, mark_id: str, database: str) -> Mark:
    """A lease; nobody signs it. Raises ArchiveError."""
    with _naming(lease_name(mark_id)):
        lease = decode_lease(raw)
        _expect("database", lease.database, database)
        _expect("id", lease.mark_id, mark_id)
        return lease


def read_tombstone(raw: bytes, *, mark_id: str) -> Tombstone:
    """A tombstone; nobody signs it. Raises ArchiveError."""
    with _naming(tombstone_name(mark_id)):
        return decode_tombstone(raw)


def sign_heartbeat(signing_key: SigningKey, beat: Heartbeat) -> bytes:
    """The object of a heartbeat."""
    body = encode_heartbeat_body(beat)
    return body + signing_key.sign(body, domain=_HEARTBEAT_DOMAIN)


def read_heartbeat(raw: bytes, *, name: str, database: str | None, verify_key: VerifyKey) -> Heartbeat:
    """A heartbeat whose signature is right. What it says counts, not its name. Raises ArchiveError."""
    with _naming(name):
        beat, signed, signature = decode_heartbeat(raw)
        verify_key.verify(signed, signature, domain=_HEARTBEAT_DOMAIN, what="the heartbeat")
        _expect("database", beat.database, database)
        return beat


def sign_claim(signing_key: SigningKey, claim: Claim) -> bytes:
    """The object of a claim; the same bytes each time."""
    body = encode_claim_body(claim)
    return body + signing_key.sign(body, domain=_CLAIM_DOMAIN)


def read_claim(raw: bytes, *, number: int, database: str | None, verify_key: VerifyKey) -> Claim:
    """A claim whose signature is right. Raises ArchiveError."""
    with _naming(claim_name(number)):
        claim, signed, signature = decode_claim(raw)
        verify_key.verify(signed, signature, domain=_CLAIM_DOMAIN, what="the claim")
        _expect("database", claim.database, database)
        _expect("number", claim.number, number)
        return claim


def _expect(field: str, found: object, asked: object) -> None:
    if asked is not None and found != asked:
        raise ArchiveError(f"it says that its {field} is {found}, not {asked}")


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        raise type(error)(f"{name}: {error.message}", hint=error.hint) from error
