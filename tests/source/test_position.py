import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import StateError
from syncd.source.position import (
    ClosedPosition,
    QuietPosition,
    WalPosition,
    format_position,
    parse_position,
)

NUMBERS = st.integers(0, 2**63)


@given(
    st.builds(
        WalPosition,
        inodes=st.tuples(NUMBERS, NUMBERS),
        salts=st.binary(min_size=8, max_size=8).filter(any),
        frame=st.integers(0, 2**32),
        header=st.binary(min_size=24, max_size=24),
    )
    | st.builds(QuietPosition, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
)
def test_a_position_is_read_as_it_was_written(position: WalPosition | QuietPosition) -> None:
    assert parse_position(format_position(position)) == position


def test_the_commit_counter_is_of_this_process_only() -> None:
    position = WalPosition((1, 2), b"saltsalt", 3, bytes(24), change=7)
    kept = parse_position(format_position(position))
    assert isinstance(kept, WalPosition)
    assert kept.change is None


def test_an_empty_log_is_no_place_to_come_back_to() -> None:
    assert not format_position(WalPosition((1, 2), bytes(8), 0, b""))


def test_a_closed_position_is_not_kept() -> None:
    assert format_position(ClosedPosition(5)) == format_position(None) == ""
    assert parse_position("") is None


@pytest.mark.parametrize(
    "text",
    ["{", "5", "[]", '["salts"]', "{}", '{"inode": 1}', '{"salts": "zz"}', '{"salts": "00", "inodes": []}'],
)
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(StateError, match="the position kept in syncd's state cannot be read"):
        parse_position(text)
