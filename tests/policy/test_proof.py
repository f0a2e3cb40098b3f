"""Where a chain has a hole, what that affects, and what a verification says that it proves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.policy.proof import hole, positions_from, seqs_text, span, what_is_proven


@pytest.mark.parametrize(
    ("after", "until", "snapshots", "unkept", "lost"),
    [
        (4, 5, [0], [], []),
        (4, 7, [0], [], [5, 6]),
        (4, 7, [0, 4], [], [5, 6]),
        (4, 7, [0, 6], [5, 6], []),
        (4, 7, [0, 5], [5], [6]),
        (4, 9, [5, 7, 9], [5, 6, 7], [8]),
        (4, 9, [], [], [5, 6, 7, 8]),
        (0, 9, [0, 8], [1, 2, 3, 4, 5, 6, 7, 8], []),
    ],
)
def test_holes(after: int, until: int, snapshots: list[int], unkept: list[int], lost: list[int]) -> None:
    found = hole(after, until, snapshots)
    assert (list(found.unkept), list(found.lost)) == (unkept, lost)


@pytest.mark.parametrize(("last", "lost"), [(None, [5, 6]), (7, [5, 6]), (8, [5, 6]), (9, [])])
def test_nothing_is_lost_in_front_of_a_bundle_that_reaches_over_a_snapshot(
    last: int | None, lost: list[int]
) -> None:
    found = hole(4, 7, [0, 8], last)
    assert list(found.lost) == lost
    assert list(found.unkept) == ([] if lost else [5, 6])


@pytest.mark.parametrize("last", [7, 9])
def test_nothing_is_lost_in_front_of_a_delta_that_its_snapshot_overtook(last: int) -> None:
    found = hole(4, 7, [0, 7], last)
    assert (list(found.unkept), list(found.lost)) == ([5, 6], [])


@given(st.integers(0, 30), st.integers(1, 30), st.sets(st.integers(0, 60)))
def test_a_hole_is_all_of_the_gap_and_what_is_lost_follows_the_last_snapshot_in_it(
    after: int, length: int, snapshots: set[int]
) -> None:
    until = after + length
    found = hole(after, until, sorted(snapshots))
    assert [*found.unkept, *found.lost] == list(range(after + 1, until))
    assert not set(found.lost) & snapshots
    assert not found.unkept or found.unkept[-1] in snapshots


@pytest.mark.parametrize(
    ("seq", "snapshots", "text"),
    [
        (3, [], "positions from 3 on"),
        (3, [0, 2], "positions from 3 on"),
        (3, [0, 8], "positions 3 to 7"),
        (3, [0, 4], "position 3"),
        (3, [0, 3], "position 3 but for its snapshot"),
    ],
)
def test_what_a_missing_delta_affects(seq: int, snapshots: list[int], text: str) -> None:
    assert positions_from(seq, snapshots) == text


def test_spellings() -> None:
    assert (span(2, 2), span(2, 4)) == ("position 2", "positions 2 to 4")
    assert seqs_text([]) == ""
    assert seqs_text([3]) == "snapshot 3"
    assert seqs_text(list(range(8))) == "snapshots 0, 1, 2, 3, 4, 5 and 2 more"


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("sample", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("compared", [True, False])
def test_every_way_says_what_it_does_not_prove(sample: float, quick: bool, compared: bool) -> None:
    lines = what_is_proven(sample=sample, quick=quick, compared=compared)
    assert any(line.startswith("not proven") for line in lines)
    assert any("only listed" in line for line in lines) == (quick and sample < 1)
    assert any("what is sealed opens" in line for line in lines) == (sample == 0)
    assert any("taken away" in line for line in lines) == (not compared)
