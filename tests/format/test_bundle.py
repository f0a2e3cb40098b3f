import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format import delta as module
from syncd.format.delta import SealedDelta, decode_bundle, encode_bundle
from syncd.format.names import MAX_EPOCH, MAX_SEQ
from syncd.format.wire import ObjectKind, header, varint
from tests.format.support import flips, truncations

BUNDLE = [SealedDelta(700, 2, b"first"), SealedDelta(701, 3, b""), SealedDelta(702, 3, b"last")]
HEAD = header(ObjectKind.DELTAS)


@settings(deadline=None)
@given(
    st.integers(0, MAX_SEQ - 10),
    st.lists(st.tuples(st.integers(0, MAX_EPOCH), st.binary(max_size=50)), min_size=1, max_size=10),
)
def test_a_bundle_comes_back(first: int, content: list[tuple[int, bytes]]) -> None:
    bundle = [SealedDelta(first + index, *item) for index, item in enumerate(content)]
    assert decode_bundle(encode_bundle(bundle)) == bundle


def test_a_bundle_costs_little() -> None:
    assert len(encode_bundle([SealedDelta(100_000, 30, bytes(300))])) - 300 == 15


def test_every_truncation_is_refused() -> None:
    for raw in truncations(encode_bundle(BUNDLE)):
        with pytest.raises(ArchiveError):
            decode_bundle(raw)


def test_what_is_read_from_damaged_bytes_spells_the_same_bytes() -> None:
    for _, raw in flips(encode_bundle(BUNDLE)):
        try:
            bundle = decode_bundle(raw)
        except ArchiveError:
            continue
        assert encode_bundle(bundle) == raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (HEAD + varint(1) + varint(0), "no deltas"),
        (HEAD + varint(1) + varint(9), "9 items cannot follow"),
        (HEAD + varint(MAX_SEQ) + varint(2) + bytes(4), "pass the largest"),
        (HEAD + varint(1) + varint(1) + varint(MAX_EPOCH + 1) + varint(0), "above the limit"),
        (encode_bundle(BUNDLE) + b"\0", "belong to nothing"),
    ],
)
def test_a_malformed_bundle_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        decode_bundle(raw)


def test_the_last_sequence_number_can_be_used() -> None:
    last = [SealedDelta(MAX_SEQ, MAX_EPOCH, b"x")]
    assert decode_bundle(encode_bundle(last)) == last


@pytest.mark.parametrize("bundle", [[], [BUNDLE[0], BUNDLE[2]], [BUNDLE[0], BUNDLE[0]], BUNDLE[::-1]])
def test_only_consecutive_deltas_are_bundled(bundle: list[SealedDelta]) -> None:
    with pytest.raises(ValueError, match=r"no deltas|belongs"):
        encode_bundle(bundle)


@pytest.mark.parametrize(("seq", "epoch"), [(-1, 0), (MAX_SEQ + 1, 0), (0, -1), (0, MAX_EPOCH + 1)])
def test_an_invalid_sealed_delta_cannot_be_made(seq: int, epoch: int) -> None:
    with pytest.raises(ValueError, match="is no"):
        SealedDelta(seq, epoch, b"")


def test_a_bundle_has_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encode_bundle(BUNDLE)
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", len(raw))
    assert decode_bundle(encode_bundle(BUNDLE)) == BUNDLE
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", len(raw) - 1)
    with pytest.raises(ValueError, match="more than"):
        encode_bundle(BUNDLE)
    with pytest.raises(ArchiveError, match="more than"):
        decode_bundle(raw)
