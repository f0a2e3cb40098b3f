from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from syncd.errors import ArchiveError
from syncd.format import manifest as module
from syncd.format.manifest import (
    Manifest,
    PackRef,
    decode_manifest,
    encode_manifest,
    encode_manifest_body,
)
from syncd.format.runs import Run, Runs
from tests.format.support import MANIFEST, flips, manifests, truncations

SIGNATURE = bytes(range(64))


def encoded(manifest: Manifest) -> bytes:
    return encode_manifest(encode_manifest_body(manifest), manifest.sealed_digest, SIGNATURE)


@settings(deadline=None)
@given(manifests())
def test_a_manifest_comes_back(manifest: Manifest) -> None:
    raw = encoded(manifest)
    assert decode_manifest(raw) == (manifest, raw[:-64], SIGNATURE)


def test_every_truncation_is_refused() -> None:
    for raw in truncations(encoded(MANIFEST)):
        with pytest.raises(ArchiveError):
            decode_manifest(raw)


def test_what_is_read_from_damaged_bytes_spells_the_same_bytes() -> None:
    for _, raw in flips(encoded(MANIFEST)):
        try:
            manifest, signed, signature = decode_manifest(raw)
        except ArchiveError:
            continue
        assert signed + signature == raw
        assert encode_manifest(encode_manifest_body(manifest), manifest.sealed_digest, signature) == raw


def test_bytes_behind_a_manifest_are_refused() -> None:
    with pytest.raises(ArchiveError, match="belong to nothing"):
        decode_manifest(encoded(MANIFEST) + b"\0")


def test_an_empty_database_has_an_empty_map() -> None:
    empty = replace(MANIFEST, page_count=0, packs=(), runs=Runs.of())
    assert decode_manifest(encoded(empty))[0] == empty


def table(*rows: tuple[int, int, int]) -> Runs:
    return Runs(np.array(rows, np.int64))


P, Q = MANIFEST.packs
R, S, T = MANIFEST.runs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"database": "../x"}, "no name of a database"),
        ({"generation": "x"}, "no generation"),
        ({"seq": -1}, "no sequence number"),
        ({"seq": 1 << 64}, "no sequence number"),
        ({"epoch": -1}, "no epoch"),
        ({"epoch": 1 << 32}, "no epoch"),
        ({"captured_ms": -1}, "no time"),
        ({"created_ms": 1 << 62}, "no time"),
        ({"page_size": 4095}, "no page size"),
        ({"page_count": -1}, "no number of pages"),
        ({"page_count": 11}, "the database at page 11"),
        ({"page_count": 9}, "the database at page 9"),
        ({"runs": Runs.of(R, S)}, "the runs end at page 8"),
        ({"runs": table((0, 0, 0), (3, 0, 4), (5, 1, 0), (2, 0, 1))}, "the run at page 1 is empty"),
        ({"runs": table((3, 2, 4), (5, 1, 0), (2, 0, 1))}, "page 1 names a pack that there is not"),
        ({"runs": table((3, 0, 4), (5, -1, 0), (2, 0, 1))}, "page 4 names a pack that there is not"),
        ({"runs": table((3, 0, 5), (5, 1, 0), (2, 0, 1))}, "page 1 leaves its pack"),
        ({"runs": table((3, 0, 4), (5, 1, 0), (2, 0, -1))}, "page 9 leaves its pack"),
        ({"packs": (P, replace(Q, pack_id=P.pack_id))}, "listed twice"),
        ({"packs": (P, Q, replace(Q, pack_id=b"r" * 16))}, "no run uses"),
    ],
)
def test_an_invalid_manifest_cannot_be_made(change: dict[str, object], reason: str) -> None:
    fields = {name: getattr(MANIFEST, name) for name in Manifest.__slots__}
    with pytest.raises(ValueError, match=reason):
        Manifest(**{**fields, **change})


@pytest.mark.parametrize(
    ("pack_id", "size", "sha256", "pages", "epoch"),
    [
        (bytes(15), 1, bytes(32), 1, 1),
        (bytes(16), 1, bytes(31), 1, 1),
        (bytes(16), 0, bytes(32), 1, 1),
        (bytes(16), 1 << 64, bytes(32), 1, 1),
        (bytes(16), 1, bytes(32), 0, 1),
        (bytes(16), 1, bytes(32), 1 << 32, 1),
        (bytes(16), 1, bytes(32), 1, -1),
        (bytes(16), 1, bytes(32), 1, 1 << 32),
    ],
)
def test_an_invalid_pack_cannot_be_listed(
    pack_id: bytes, size: int, sha256: bytes, pages: int, epoch: int
) -> None:
    with pytest.raises(ValueError, match="a pack"):
        PackRef(pack_id, size, sha256, pages, epoch)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("database", "a b", "no name of a database"),
        ("page_count", 11, "the database at page 11"),
        ("runs", Runs.of(R, S, Run(9, 2, 0, 6)), "leaves its pack"),
        ("captured_ms", 1 << 62, "no time"),
        ("epoch", 1 << 32, "no epoch"),
    ],
)
def test_an_invalid_manifest_is_refused_when_read(field: str, value: object, reason: str) -> None:
    broken = replace(MANIFEST)
    object.__setattr__(broken, field, value)
    with pytest.raises(ArchiveError, match=reason):
        decode_manifest(encoded(broken))


@pytest.mark.parametrize("log2", [8, 17, 200])
def test_an_impossible_page_size_is_refused_when_read(log2: int) -> None:
    body = encode_manifest_body(MANIFEST)
    at = body.index(bytes((12, 10, 2)))  # page size, page count, number of packs
    raw = encode_manifest(body[:at] + bytes((log2,)) + body[at + 1 :], MANIFEST.sealed_digest, SIGNATURE)
    with pytest.raises(ArchiveError, match="is no page size"):
        decode_manifest(raw)


def test_a_signature_has_64_bytes() -> None:
    with pytest.raises(ValueError, match="not 63"):
        encode_manifest(encode_manifest_body(MANIFEST), b"", bytes(63))


def test_a_manifest_has_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encoded(MANIFEST)
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", len(raw) - 1)
    with pytest.raises(ValueError, match="more than"):
        encoded(MANIFEST)
    with pytest.raises(ArchiveError, match="more than"):
        decode_manifest(raw)
