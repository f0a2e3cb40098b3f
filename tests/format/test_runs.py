import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format.runs import Run, Runs, decode_runs, encode_runs
from syncd.format.wire import Reader, varint

NUMBERS = st.integers(0, (1 << 32) - 1)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=20)


def table(rows: list[tuple[int, int, int]]) -> Runs:
    return Runs(np.array(rows, np.int64).reshape(-1, 3))


@given(ROWS, st.binary(max_size=20))
def test_runs_are_varints_one_after_the_other(rows: list[tuple[int, int, int]], rest: bytes) -> None:
    raw = encode_runs(table(rows))
    assert raw == b"".join(varint(value) for row in rows for value in row)
    reader = Reader(raw + rest, "the map")
    assert decode_runs(reader, len(rows)) == table(rows)
    assert reader.rest() == rest


@given(st.binary(max_size=40), st.integers(0, 4))
def test_what_is_read_spells_the_same_bytes(raw: bytes, count: int) -> None:
    reader = Reader(raw, "the map")
    try:
        runs = decode_runs(reader, count)
    except ArchiveError:
        return
    assert encode_runs(runs) == raw[: reader.at]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\1\1", "do not fit into 2 bytes"),
        (b"\1\1\x80", "do not fit"),
        (b"\1\1\x80\0", "shortest spelling"),
        (b"\1\1" + varint(1 << 32), "above the limit"),
        (b"\1\1" + varint(1 << 40), "above the limit"),
    ],
)
def test_what_is_malformed_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        decode_runs(Reader(raw, "the map"), 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=30))
def test_places_and_runs_are_each_other(places: list[tuple[int, int]]) -> None:
    packs = np.array([pack for pack, _ in places], np.int32)
    offsets = np.array([offset for _, offset in places], np.int32)
    runs = Runs.of_places(packs, offsets)
    again = runs.places()
    assert np.array_equal(again[0], packs)
    assert np.array_equal(again[1], offsets)
    assert Runs.of(*runs) == runs
    assert runs.page_count == len(places)
    for run, following in zip(runs, list(runs)[1:], strict=False):
        assert (run.pack, run.offset + run.count) != (following.pack, following.offset)


def test_a_run_that_stands_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="at page 3 stands at page 4"):
        Runs.of(Run(1, 3, 0, 0), Run(3, 1, 0, 7))


def test_equal_runs_are_equal_and_show_their_size() -> None:
    runs, same = Runs.of(Run(1, 3, 0, 0)), Runs.of(Run(1, 3, 0, 0))
    assert runs == same
    assert hash(runs) == hash(same)
    assert runs != Runs.of(Run(1, 3, 0, 1))
    assert runs != ((1, 3, 0),)
    assert repr(runs) == "Runs(1 of 3 pages)"
