"""Bundles of sealed deltas: every one comes back, nothing else is one."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format import bundle as module
from syncd.format.bundle import MAX_CLOSING_BYTES, Bundle, decode_bundle, encode_bundle_body
from syncd.format.delta import SealedDelta
from syncd.format.names import MAX_EPOCH, MAX_SEQ, generation_bytes
from syncd.format.wire import MAX_MS, ObjectKind, header, varint
from tests.format.support import GENERATION, flips, truncations

DELTAS = (SealedDelta(700, 2, b"first"), SealedDelta(701, 3, b""), SealedDelta(702, 3, b"last"))
BUNDLE = Bundle("chat", GENERATION, 1_790_000_000_000, DELTAS)
SIGNATURE = bytes(range(64))
RAW = encode_bundle_body(BUNDLE) + SIGNATURE
HEAD = header(ObjectKind.DELTAS) + b"\4chat" + generation_bytes(GENERATION)


@settings(deadline=None)
@given(
    st.integers(0, MAX_SEQ - 10),
    st.integers(0, MAX_MS),
    st.lists(st.tuples(st.integers(0, MAX_EPOCH), st.binary(max_size=50)), min_size=1, max_size=10),
)
def test_a_bundle_comes_back(first: int, captured_ms: int, content: list[tuple[int, bytes]]) -> None:
    deltas = tuple(SealedDelta(first + index, *item) for index, item in enumerate(content))
    bundle = Bundle("chat", GENERATION, captured_ms, deltas)
    body = encode_bundle_body(bundle)
    assert decode_bundle(body + SIGNATURE) == (bundle, body, SIGNATURE)


def test_a_bundle_says_where_it_ends() -> None:
    assert (BUNDLE.first_seq, BUNDLE.last_seq) == (700, 702)


def test_a_bundle_costs_little() -> None:
    one = dataclasses.replace(BUNDLE, deltas=(SealedDelta(100_000, 30, bytes(300)),))
    assert len(encode_bundle_body(one) + SIGNATURE) - 300 == 106


def test_every_truncation_is_refused() -> None:
    for raw in truncations(RAW):
        with pytest.raises(ArchiveError):
            decode_bundle(raw)


def test_what_is_read_from_damaged_bytes_spells_the_same_bytes() -> None:
    for _, raw in flips(RAW):
        try:
            bundle, signed, signature = decode_bundle(raw)
        except ArchiveError:
            continue
        assert encode_bundle_body(bundle) + signature == signed + signature == raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (HEAD + varint(0) + varint(5) + varint(0), "no delta has seq 0"),
        (HEAD + varint(1) + varint(5) + varint(9), "9 items cannot follow"),
        (HEAD + varint(1) + varint(MAX_MS + 1) + varint(1) + bytes(4), "no time between"),
        (HEAD + varint(MAX_SEQ) + varint(5) + varint(2) + bytes(4), "pass the largest"),
        (HEAD + varint(1) + varint(5) + varint(1) + varint(MAX_EPOCH + 1) + varint(0), "above the limit"),
        (
            HEAD[:8] + b"\3a/b" + bytes(16) + b"\1\5\1" + bytes(2),
            "no name of a database",
        ),
        (RAW + b"\0", "belong to nothing"),
    ],
)
def test_a_malformed_bundle_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        decode_bundle(raw)


def test_the_last_sequence_number_can_be_used() -> None:
    last = dataclasses.replace(BUNDLE, deltas=(SealedDelta(MAX_SEQ, MAX_EPOCH, b"x"),))
    assert decode_bundle(encode_bundle_body(last) + SIGNATURE)[0] == last


@pytest.mark.parametrize("deltas", [(), (DELTAS[0], DELTAS[2]), (DELTAS[0], DELTAS[0]), DELTAS[::-1]])
def test_only_consecutive_deltas_are_bundled(deltas: tuple[SealedDelta, ...]) -> None:
    with pytest.raises(ValueError, match=r"has deltas, or|belongs"):
        dataclasses.replace(BUNDLE, deltas=deltas)


@given(st.integers(1, MAX_SEQ), st.integers(0, MAX_MS))
def test_a_closing_comes_back(seq: int, captured_ms: int) -> None:
    closing = Bundle("x" * 64, GENERATION, captured_ms, (), closes=seq)
    assert (closing.first_seq, closing.last_seq) == (seq, seq - 1)
    body = encode_bundle_body(closing)
    assert decode_bundle(body + SIGNATURE) == (closing, body, SIGNATURE)
    assert len(body + SIGNATURE) <= MAX_CLOSING_BYTES


def test_what_has_a_delta_is_larger_than_a_closing() -> None:
    """A delta's plaintext has at least 43 bytes, and what is sealed is 72 longer."""
    least = Bundle("x", GENERATION, 0, (SealedDelta(1, 0, bytes(43 + 72)),))
    assert len(encode_bundle_body(least) + SIGNATURE) > MAX_CLOSING_BYTES


def test_a_bundle_with_deltas_closes_nothing() -> None:
    with pytest.raises(ValueError, match="has deltas, or it closes"):
        dataclasses.replace(BUNDLE, closes=700)
    with pytest.raises(ValueError, match="no delta has seq 0"):
        Bundle("chat", GENERATION, 0, (), closes=0)


@pytest.mark.parametrize(("seq", "epoch"), [(-1, 0), (MAX_SEQ + 1, 0), (0, -1), (0, MAX_EPOCH + 1)])
def test_an_invalid_sealed_delta_cannot_be_made(seq: int, epoch: int) -> None:
    with pytest.raises(ValueError, match="is no"):
        SealedDelta(seq, epoch, b"")


def test_a_bundle_has_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", len(RAW))
    assert decode_bundle(encode_bundle_body(BUNDLE) + SIGNATURE)[0] == BUNDLE
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", len(RAW) - 1)
    with pytest.raises(ValueError, match="more than"):
        encode_bundle_body(BUNDLE)
    with pytest.raises(ArchiveError, match="more than"):
        decode_bundle(RAW)
