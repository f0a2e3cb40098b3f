"""Sealing and opening whole objects: what was damaged, moved, swapped or forged is refused, and named."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from syncd import archive
from syncd.envelope.epoch import EpochKey, Kind, digest_label, seal
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey
from syncd.errors import ArchiveError, FormatVersionError, IdentityError
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta, PatchGroup, SealedDelta, make_patch
from syncd.format.manifest import Manifest, PackRef, encode_manifest, encode_manifest_body, signed_part
from syncd.format.marks import Mark, Purpose, Range, encode_mark, encode_tombstone, tombstone_of
from syncd.format.runs import Run, Runs
from syncd.model import Digest
from tests.support.damage import flipped

GENERATION, OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"
IDENTITY = Identity.generate(Kem.X25519)
SIGNING = SigningKey.generate()
KEY, EPOCH = archive.new_epoch(
    "chat", GENERATION, 2, created_ms=5, recipients=[IDENTITY.recipient], signing_key=SIGNING
)
BEFORE, AFTER = Digest(3), Digest(4)
DELTA = Delta(
    page_size=512,
    page_count=9,
    digest=AFTER,
    first_ms=1,
    last_ms=2,
    commits=1,
    boundary=True,
    rebase=False,
    groups=(PatchGroup((9,), make_patch(bytes(512), b"x" * 512, 3)),),
)
PACK_ID = b"p" * 16
PACK = archive.seal_pack(KEY, PACK_ID, 512, [1, 2], b"a" * 512 + b"b" * 512, 3)
MANIFEST = Manifest(
    database="chat",
    generation=GENERATION,
    seq=7,
    epoch=2,
    captured_ms=1,
    created_ms=2,
    page_size=512,
    page_count=2,
    packs=(PackRef(PACK_ID, len(PACK), hashlib.sha256(PACK).digest(), 2, 1),),
    runs=Runs.of(Run(1, 2, 0, 0)),
)
SNAPSHOT = archive.seal_manifest(KEY, SIGNING, MANIFEST, AFTER)


def key_for_epoch(number: int) -> EpochKey:
    if number != KEY.number:
        raise ArchiveError(f"there is no epoch {number}")
    return KEY


def open_epoch(raw: bytes, identity: Identity = IDENTITY) -> EpochKey:
    return archive.open_epoch(
        raw,
        database="chat",
        generation=GENERATION,
        number=2,
        identity=identity,
        verify_key=SIGNING.verify_key,
    )


def read_bundle(
    raw: bytes, *, generation: str = GENERATION, first_seq: int = 7, database: str = "chat"
) -> Bundle:
    return archive.read_bundle(
        raw, generation=generation, first_seq=first_seq, database=database, verify_key=SIGNING.verify_key
    )


def open_bundle(raw: bytes) -> list[Delta]:
    return [
        archive.open_delta(key_for_epoch(sealed.epoch), sealed, BEFORE, "deltas/7")
        for sealed in read_bundle(raw).deltas
    ]


def open_pack(raw: bytes) -> tuple[int, tuple[int, ...], bytes]:
    return archive.open_pack(key_for_epoch, PACK_ID, raw, "packs/p")


def open_manifest(raw: bytes) -> tuple[Manifest, Digest]:
    found = archive.read_manifest(
        raw, generation=GENERATION, seq=7, database="chat", verify_key=SIGNING.verify_key
    )
    return found, archive.manifest_digest(KEY, found)


CONTENT = Bundle("chat", GENERATION, DELTA.last_ms, (archive.seal_delta(KEY, 7, BEFORE, DELTA),))
BUNDLE = archive.sign_bundle(SIGNING, CONTENT)
OBJECTS: list[tuple[bytes, Callable[[bytes], object], object]] = [
    (EPOCH, open_epoch, KEY),
    (BUNDLE, open_bundle, [DELTA]),
    (PACK, open_pack, (512, (1, 2), b"a" * 512 + b"b" * 512)),
    (SNAPSHOT, lambda raw: open_manifest(raw)[1], AFTER),
]
every_object = pytest.mark.parametrize(
    ("raw", "open_object", "content"), OBJECTS, ids=["epoch", "bundle", "pack", "manifest"]
)


@every_object
def test_an_object_opens(raw: bytes, open_object: Callable[[bytes], object], content: object) -> None:
    assert open_object(raw) == content


def damages(raw: bytes) -> Iterator[bytes]:
    for at in range(len(raw)):
        yield raw[:at]
        for bit in range(8):
            yield flipped(raw, at, 1 << bit)
        yield raw[:at] + raw[at + 1 :]
        yield raw[:at] + b"\0" + raw[at:]
    yield raw + b"\0"
    yield raw + raw


@every_object
def test_no_damage_opens_or_crashes(
    raw: bytes, open_object: Callable[[bytes], object], content: object
) -> None:
    cases = 0
    for damaged in damages(raw):
        if damaged == raw:
            continue
        cases += 1
        with pytest.raises(ArchiveError):
            open_object(damaged)
    assert cases > 1000
    assert open_object(raw) == content


@every_object
def test_an_object_of_another_kind_is_refused_by_name(
    raw: bytes, open_object: Callable[[bytes], object], content: object
) -> None:
    for other, _, _ in OBJECTS:
        if other is not raw:
            with pytest.raises(ArchiveError, match=r"(epochs|deltas|packs|snapshots)/.*does not start"):
                open_object(other)
    assert open_object(raw) == content


@every_object
def test_a_newer_version_says_upgrade(
    raw: bytes, open_object: Callable[[bytes], object], content: object
) -> None:
    with pytest.raises(FormatVersionError, match="upgrade syncd"):
        open_object(raw[:6] + b"\x02" + raw[7:])
    assert open_object(raw) == content


@pytest.mark.parametrize("kem", [Kem.X25519, Kem.MLKEM768_X25519])
def test_several_recipients_open_the_same_epoch(kem: Kem) -> None:
    identities = [Identity.generate(kem), Identity.generate(Kem.X25519)]
    key, raw = archive.new_epoch(
        "chat",
        GENERATION,
        2,
        created_ms=5,
        recipients=(identity.recipient for identity in identities),
        signing_key=SIGNING,
    )
    assert [open_epoch(raw, identity) for identity in identities] == [key, key]


def test_not_mine_differs_from_broken() -> None:
    with pytest.raises(IdentityError) as caught:
        open_epoch(EPOCH, Identity.generate(Kem.X25519))
    assert IDENTITY.recipient.fingerprint.hex() in caught.value.hint


def test_an_epoch_needs_recipients_each_of_them_once() -> None:
    for recipients in ([], [IDENTITY.recipient, IDENTITY.recipient]):
        with pytest.raises(ValueError, match=r"no recipient|twice"):
            archive.new_epoch("chat", GENERATION, 2, created_ms=5, recipients=recipients, signing_key=SIGNING)


@pytest.mark.parametrize(
    ("database", "generation", "number", "reason"),
    [
        ("other", GENERATION, 2, "its database is chat, not other"),
        (None, OTHER, 2, f"its generation is {GENERATION}, not {OTHER}"),
        (None, GENERATION, 3, "its number is 2, not 3"),
    ],
)
def test_an_epoch_from_elsewhere_is_refused(
    database: str | None, generation: str, number: int, reason: str
) -> None:
    with pytest.raises(ArchiveError, match=reason):
        archive.open_epoch(
            EPOCH,
            database=database,
            generation=generation,
            number=number,
            identity=IDENTITY,
            verify_key=SIGNING.verify_key,
        )


def test_an_epoch_opens_without_knowing_name_and_number() -> None:
    found = archive.open_epoch(
        EPOCH, database=None, generation=GENERATION, identity=IDENTITY, verify_key=SIGNING.verify_key
    )
    assert found == KEY


def test_what_another_daemon_signed_is_refused() -> None:
    stranger = SigningKey.generate()
    _, epoch = archive.new_epoch(
        "chat", GENERATION, 2, created_ms=5, recipients=[IDENTITY.recipient], signing_key=stranger
    )
    with pytest.raises(ArchiveError, match="signature of the epoch is wrong"):
        open_epoch(epoch)
    with pytest.raises(ArchiveError, match="signature of the manifest is wrong"):
        open_manifest(archive.seal_manifest(KEY, stranger, MANIFEST, AFTER))
    with pytest.raises(ArchiveError, match="signature of the bundle is wrong"):
        read_bundle(archive.sign_bundle(stranger, CONTENT))


def test_a_signature_does_not_serve_another_kind_of_object() -> None:
    body = encode_manifest_body(MANIFEST)
    signed = signed_part(body, b"")
    forged = encode_manifest(body, b"", SIGNING.sign(signed, domain=b"syncd v1 epoch\0"))
    with pytest.raises(ArchiveError, match="signature"):
        open_manifest(forged)


@pytest.mark.parametrize(
    ("key", "seq", "predecessor", "reason"),
    [
        (KEY, 8, BEFORE, "delta 8 does not open"),
        (KEY, 7, Digest(9), "delta 7 does not open"),
        (replace(KEY, generation=OTHER), 7, BEFORE, "does not open"),
        (replace(KEY, database="other"), 7, BEFORE, "does not open"),
        (replace(KEY, number=3), 7, BEFORE, "its epoch is 2, not 3"),
    ],
)
def test_a_delta_opens_in_its_place_only(key: EpochKey, seq: int, predecessor: Digest, reason: str) -> None:
    sealed = replace(archive.seal_delta(KEY, 7, BEFORE, DELTA), seq=seq)
    with pytest.raises(ArchiveError, match=f"deltas/7: .*{reason}"):
        archive.open_delta(key, sealed, predecessor, "deltas/7")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"first_seq": 6}, "deltas/0000000000000006: it says that its first seq is 7, not 6"),
        ({"generation": OTHER}, f"its generation is {GENERATION}, not {OTHER}"),
        ({"database": "other"}, "its database is chat, not other"),
    ],
)
def test_a_bundle_in_another_place_is_refused(place: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        read_bundle(BUNDLE, **place)


def test_the_same_deltas_are_the_same_object() -> None:
    assert archive.sign_bundle(SIGNING, CONTENT) == BUNDLE


def test_a_sealed_delta_that_is_malformed_inside_is_refused() -> None:
    sealed = seal(KEY, Kind.DELTA, (7).to_bytes(8) + bytes(BEFORE), b"nonsense")
    with pytest.raises(ArchiveError, match="deltas/7: the delta is malformed"):
        archive.open_delta(KEY, SealedDelta(7, 2, sealed), BEFORE, "deltas/7")


def test_a_pack_under_another_name_is_refused() -> None:
    with pytest.raises(ArchiveError, match="packs/q: the pack does not open"):
        archive.open_pack(key_for_epoch, b"q" * 16, PACK, "packs/q")


def test_a_pack_is_opened_with_the_key_of_its_epoch() -> None:
    with pytest.raises(ArchiveError, match="its epoch is 2, not 3"):
        archive.open_pack(lambda _: replace(KEY, number=3), PACK_ID, PACK, "packs/p")


def test_a_manifest_comes_back_without_an_identity() -> None:
    found = archive.read_manifest(
        SNAPSHOT, generation=GENERATION, seq=7, database=None, verify_key=SIGNING.verify_key
    )
    assert replace(found, sealed_digest=b"") == MANIFEST
    assert bytes(AFTER) not in SNAPSHOT


@pytest.mark.parametrize(
    ("generation", "seq", "database", "reason"),
    [
        (OTHER, 7, "chat", "generation"),
        (GENERATION, 8, "chat", "its seq is 7, not 8"),
        (GENERATION, 7, "other", "its database is chat, not other"),
    ],
)
def test_a_manifest_from_elsewhere_is_refused(generation: str, seq: int, database: str, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        archive.read_manifest(
            SNAPSHOT, generation=generation, seq=seq, database=database, verify_key=SIGNING.verify_key
        )


def test_a_digest_belongs_to_its_manifest() -> None:
    found, _ = open_manifest(SNAPSHOT)
    for change in ({"captured_ms": 9}, {"seq": 8}, {"sealed_digest": b""}):
        with pytest.raises(ArchiveError, match="the digest does not open"):
            archive.manifest_digest(KEY, replace(found, **change))
    with pytest.raises(ArchiveError, match="its epoch is 2, not 3"):
        archive.manifest_digest(replace(KEY, number=3), found)


def test_a_digest_of_the_wrong_size_is_refused() -> None:
    label = digest_label(7, encode_manifest_body(MANIFEST))
    with pytest.raises(ArchiveError, match="the digest is malformed"):
        archive.manifest_digest(
            KEY, replace(MANIFEST, sealed_digest=seal(KEY, Kind.DIGEST, label, bytes(31)))
        )


@pytest.mark.parametrize("change", [{"database": "x"}, {"generation": OTHER}, {"epoch": 3}])
def test_a_manifest_is_sealed_with_its_own_key(change: dict[str, object]) -> None:
    fields = {name: getattr(MANIFEST, name) for name in Manifest.__slots__}
    with pytest.raises(ValueError, match="another database"):
        archive.seal_manifest(KEY, SIGNING, Manifest(**{**fields, **change}), AFTER)


def test_marks_are_read_as_what_they_say() -> None:
    hold = Mark("chat", GENERATION, Purpose.HOLD, 1, 2, "case 7", (Range(GENERATION, 1, 2),))
    raw = archive.seal_hold(SIGNING, hold)
    verify_key = SIGNING.verify_key
    assert archive.read_hold(raw, mark_id=GENERATION, database="chat", verify_key=verify_key) == hold
    with pytest.raises(ArchiveError, match=f"holds/{OTHER}: it says that its id"):
        archive.read_hold(raw, mark_id=OTHER, database="chat", verify_key=verify_key)
    with pytest.raises(ArchiveError, match="its database is chat, not other"):
        archive.read_hold(raw, mark_id=GENERATION, database="other", verify_key=verify_key)
    with pytest.raises(ArchiveError, match="the signature of the hold is wrong"):
        archive.read_hold(
            raw, mark_id=GENERATION, database="chat", verify_key=SigningKey.generate().verify_key
        )
    lease = replace(hold, purpose=Purpose.RESTORE)
    assert archive.read_lease(encode_mark(lease), mark_id=GENERATION, database="chat") == lease
    with pytest.raises(ArchiveError, match=f"leases/{OTHER}: it says that its id"):
        archive.read_lease(encode_mark(lease), mark_id=OTHER, database="chat")
    tombstone = tombstone_of(5, [])
    assert archive.read_tombstone(encode_tombstone(tombstone), mark_id=GENERATION) == tombstone
    with pytest.raises(ArchiveError, match=f"tombstones/{GENERATION}: the tombstone is malformed"):
        archive.read_tombstone(b"", mark_id=GENERATION)
