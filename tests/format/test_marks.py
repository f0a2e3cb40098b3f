from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError, FormatVersionError
from syncd.format import marks as module
from syncd.format.marks import (
    Mark,
    Purpose,
    Range,
    Tombstone,
    decode_hold,
    decode_lease,
    decode_tombstone,
    encode_mark,
    encode_tombstone,
    tombstone_of,
)
from syncd.format.names import MAX_SEQ, deltas_name, epoch_name, generation_text, pack_name, snapshot_name
from syncd.format.wire import MAX_MS
from tests.format.support import GENERATION, flips, truncations

SIGNATURE = b"s" * 64
RANGES = (Range(GENERATION, 3, 700), Range(GENERATION, 0, MAX_SEQ))
HOLD = Mark("chat", GENERATION, Purpose.HOLD, 1_790_000_000_000, 1_800_000_000_000, "case 7, é", RANGES)
LEASE = replace(HOLD, purpose=Purpose.RESTORE, reason="")
TOMBSTONE = tombstone_of(1_790_000_000_000, [deltas_name(GENERATION, 9), epoch_name(GENERATION, 1)])

ulids = st.binary(min_size=16, max_size=16).map(generation_text)
seqs = st.integers(0, MAX_SEQ)
times = st.integers(0, MAX_MS)
ranges = st.tuples(ulids, seqs, seqs).map(lambda r: Range(r[0], min(r[1:]), max(r[1:])))
reasons = st.text(max_size=200).filter(str.isprintable)
object_names = st.one_of(
    st.builds(deltas_name, ulids, seqs),
    st.builds(snapshot_name, ulids, seqs),
    st.builds(pack_name, ulids, st.binary(min_size=16, max_size=16)),
    st.builds(epoch_name, ulids, st.integers(0, 0xFFFFFFFF)),
)


@st.composite
def drawn(draw: st.DrawFn, purposes: st.SearchStrategy[Purpose]) -> Mark:
    created, until = sorted((draw(times), draw(times)))
    purpose = draw(purposes)
    reason = draw(reasons) + ("x" if purpose is Purpose.HOLD else "")
    return Mark(
        draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        draw(ulids),
        purpose,
        created,
        until,
        reason,
        tuple(draw(st.lists(ranges, max_size=5))),
    )


@settings(deadline=None)
@given(drawn(st.just(Purpose.HOLD)), st.binary(min_size=64, max_size=64))
def test_a_hold_comes_back(mark: Mark, signature: bytes) -> None:
    body = encode_mark(mark)
    assert decode_hold(body + signature) == (mark, body, signature)


@settings(deadline=None)
@given(drawn(st.sampled_from([Purpose.RESTORE, Purpose.SNAPSHOT, Purpose.PRUNE])))
def test_a_lease_comes_back(mark: Mark) -> None:
    assert decode_lease(encode_mark(mark)) == mark


@settings(deadline=None)
@given(times, st.lists(object_names, max_size=6, unique=True))
def test_a_tombstone_comes_back(created_ms: int, names: list[str]) -> None:
    tombstone = tombstone_of(created_ms, names)
    assert decode_tombstone(encode_tombstone(tombstone)) == tombstone
    assert sorted(tombstone.names) == list(tombstone.names)


def test_the_bytes_of_a_hold() -> None:
    small = replace(HOLD, created_ms=1, until_ms=2, reason="r", ranges=(Range(GENERATION, 3, 300),))
    ulid = bytes.fromhex("01563e3ab5d3d6764c61efb99302bd5b")
    assert encode_mark(small) == (
        b"syncdH\x01\x00" + b"\x04chat" + ulid + b"\x01\x02" + b"\x01r" + b"\x01" + ulid + b"\x03\xac\x02"
    )
    lease = encode_mark(replace(small, purpose=Purpose.SNAPSHOT))
    assert lease[:30] == b"syncdL\x01\x00" + b"\x04chat" + ulid + b"\x02"


@pytest.mark.parametrize(
    "raw", [encode_mark(HOLD) + SIGNATURE, encode_mark(LEASE), encode_tombstone(TOMBSTONE)]
)
def test_every_truncation_and_every_extra_byte_is_refused(raw: bytes) -> None:
    decode = {b"H": decode_hold, b"L": decode_lease, b"T": decode_tombstone}[raw[5:6]]
    for broken in (*truncations(raw), raw + b"\0"):
        with pytest.raises(ArchiveError):
            decode(broken)


def test_what_is_read_from_damaged_bytes_spells_the_same_bytes() -> None:
    for _, raw in flips(encode_mark(HOLD) + SIGNATURE):
        try:
            mark, signed, signature = decode_hold(raw)
        except ArchiveError:
            continue
        assert encode_mark(mark) == signed
        assert signed + signature == raw
    for _, raw in flips(encode_mark(LEASE)):
        try:
            lease = decode_lease(raw)
        except ArchiveError:
            continue
        assert encode_mark(lease) == raw
    for _, raw in flips(encode_tombstone(TOMBSTONE)):
        try:
            tombstone = decode_tombstone(raw)
        except ArchiveError:
            continue
        assert encode_tombstone(tombstone) == raw


def test_a_newer_version_is_not_damage() -> None:
    with pytest.raises(FormatVersionError):
        decode_lease(b"syncdL\x02\x00")


@pytest.mark.parametrize("purpose", [0, 4, 255])
def test_an_unknown_purpose_is_refused(purpose: int) -> None:
    raw = bytearray(encode_mark(LEASE))
    assert raw[29] == Purpose.RESTORE.value
    raw[29] = purpose
    with pytest.raises(ArchiveError, match=r"no hold|valid Purpose"):
        decode_lease(bytes(raw))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"database": "a b"}, "no name of a database"),
        ({"mark_id": "x"}, "no generation"),
        ({"created_ms": -1}, "no time"),
        ({"until_ms": 1 << 62}, "no time"),
        ({"until_ms": 5}, "before it begins"),
        ({"reason": "é" * 501}, "longer than 1000"),
        ({"reason": "a\nb"}, "not printable"),
        ({"reason": " "}, "needs a reason"),
    ],
)
def test_an_impossible_mark_cannot_be_made(change: dict[str, object], reason: str) -> None:
    fields = {name: getattr(HOLD, name) for name in Mark.__slots__}
    with pytest.raises(ValueError, match=reason):
        Mark(**{**fields, **change})


@pytest.mark.parametrize(("first", "last"), [(-1, 0), (2, 1), (0, MAX_SEQ + 1)])
def test_an_impossible_range_cannot_be_made(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="no range"):
        Range(GENERATION, first, last)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((epoch_name(GENERATION, 1),) * 2, "increasing"),
        ((f"holds/{GENERATION}",), "no name of an object"),
        (("../x",), "no name of an object"),
    ],
)
def test_a_tombstone_names_objects_in_order(names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Tombstone(0, names)
    broken = tombstone_of(0, [])
    object.__setattr__(broken, "names", names)
    with pytest.raises(ArchiveError, match=reason):
        decode_tombstone(encode_tombstone(broken))


def test_marks_have_size_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, tombstone = encode_mark(HOLD) + SIGNATURE, encode_tombstone(TOMBSTONE)
    monkeypatch.setattr(module, "MAX_MARK_BYTES", len(hold) - 1)
    monkeypatch.setattr(module, "MAX_TOMBSTONE_BYTES", len(tombstone) - 1)
    with pytest.raises(ValueError, match="too large"):
        encode_mark(HOLD)
    with pytest.raises(ArchiveError, match="more than"):
        decode_hold(hold)
    with pytest.raises(ValueError, match="too large"):
        encode_tombstone(TOMBSTONE)
    with pytest.raises(ArchiveError, match="more than"):
        decode_tombstone(tombstone)
