from dataclasses import replace

import pytest
from hypothesis import given, settings

from syncd.errors import ArchiveError
from syncd.format import delta as module
from syncd.format.delta import (
    MAX_GROUP_BYTES,
    MAX_PATCH_BYTES,
    Delta,
    PatchGroup,
    check_follows,
    decode_delta,
    encode_delta,
    group_pages,
)
from syncd.format.wire import MAX_VARINT
from syncd.model import Digest
from tests.format.support import DELTA, deltas, flips, truncations


@settings(deadline=None)
@given(deltas())
def test_a_delta_comes_back(delta: Delta) -> None:
    assert decode_delta(encode_delta(delta)) == delta


def test_a_small_delta_costs_little() -> None:
    pages = (1, 30_000, 30_001, 60_000)
    small = replace(DELTA, page_count=60_000, groups=(PatchGroup(pages, b"x" * 200),))
    assert len(encode_delta(small)) - 200 == 57


def test_every_truncation_is_refused() -> None:
    for raw in truncations(encode_delta(DELTA)):
        with pytest.raises(ArchiveError):
            decode_delta(raw)


def test_what_is_read_from_damaged_bytes_spells_the_same_bytes() -> None:
    for _, raw in flips(encode_delta(DELTA)):
        try:
            delta = decode_delta(raw)
        except ArchiveError:
            continue
        assert encode_delta(delta) == raw


def test_bytes_behind_a_delta_are_refused() -> None:
    with pytest.raises(ArchiveError, match="belong to nothing"):
        decode_delta(encode_delta(DELTA) + b"\0")


def test_unknown_flags_are_refused() -> None:
    raw = encode_delta(DELTA)
    for bit in (0x20, 0x40, 0x80):
        with pytest.raises(ArchiveError, match="flags"):
            decode_delta(bytes((raw[0] | bit,)) + raw[1:])


def test_an_empty_database_is_a_state_like_others() -> None:
    empty = replace(DELTA, page_count=0, digest=Digest(), groups=())
    assert decode_delta(encode_delta(empty)) == empty


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"page_size": 1000}, "no page size"),
        ({"page_size": 256}, "no page size"),
        ({"page_count": -1}, "no number of pages"),
        ({"page_count": 0xFFFFFFFF}, "no number of pages"),
        ({"page_count": 8999}, "behind the end"),
        ({"digest": Digest(1 << 256)}, "32 bytes"),
        ({"digest": Digest(-1)}, "32 bytes"),
        ({"first_ms": -1}, "no time"),
        ({"last_ms": 1 << 63}, "no time"),
        ({"last_ms": DELTA.first_ms - 1}, "before the first"),
        ({"commits": -1}, "commits"),
        ({"commits": MAX_VARINT + 1}, "commits"),
        ({"groups": (PatchGroup((0,), b"x"),)}, "page 0 follows"),
        ({"groups": (PatchGroup((2, 2), b"x"),)}, "page 2 follows"),
        ({"groups": (PatchGroup((5,), b"x"), PatchGroup((4,), b"x"))}, "page 4 follows"),
        ({"groups": (PatchGroup(tuple(range(1, 1026)), b"x"),)}, "more than"),
    ],
)
def test_an_invalid_delta_cannot_be_made(change: dict[str, object], reason: str) -> None:
    fields = {name: getattr(DELTA, name) for name in Delta.__slots__}
    with pytest.raises(ValueError, match=reason):
        Delta(**{**fields, **change})


@pytest.mark.parametrize(("pages", "patch"), [((), b"x"), ((1,), b""), ((1,), bytes(MAX_PATCH_BYTES + 1))])
def test_an_invalid_group_cannot_be_made(pages: tuple[int, ...], patch: bytes) -> None:
    with pytest.raises(ValueError, match="patch"):
        PatchGroup(pages, patch)


def test_an_invalid_delta_is_refused_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(DELTA)
    object.__setattr__(broken, "page_count", 8999)
    with pytest.raises(ArchiveError, match="behind the end"):
        decode_delta(encode_delta(broken))
    monkeypatch.setattr(module, "MAX_PATCH_BYTES", 2)
    with pytest.raises(ArchiveError, match="a patch has 3 bytes"):
        decode_delta(encode_delta(DELTA))


@pytest.mark.parametrize(
    ("count", "size", "change", "reason"),
    [
        (9000, 4096, {}, None),
        (9001, 4096, {}, None),
        (8999, 4096, {}, None),
        (8998, 4096, {}, "1 images for the pages from 8999 to 9000"),
        (9000, 512, {}, "pages of 4096 bytes, the database of 512"),
        (9000, 512, {"rebase": True}, "5 images for the pages from 1 to 9000"),
        (0, 512, {"page_count": 2, "groups": (PatchGroup((1, 2), b"x"),)}, None),
        (7, 512, {"page_count": 2, "groups": (PatchGroup((1, 2), b"x"),), "rebase": True}, None),
        (7, 4096, {"page_count": 0, "groups": ()}, None),
    ],
)
def test_a_delta_follows_a_database_that_it_completes(
    count: int, size: int, change: dict[str, object], reason: str | None
) -> None:
    fields = {name: getattr(DELTA, name) for name in Delta.__slots__}
    delta = Delta(**{**fields, **change})
    if reason is None:
        check_follows(delta, page_size=size, page_count=count)
    else:
        with pytest.raises(ArchiveError, match=reason):
            check_follows(delta, page_size=size, page_count=count)


@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_a_full_group_is_within_the_limit(size: int) -> None:
    assert 0 < group_pages(size) * size <= MAX_GROUP_BYTES
