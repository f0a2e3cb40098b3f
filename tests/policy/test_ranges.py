"""From what somebody wants to keep to ranges of positions."""

from dataclasses import replace

import pytest

from syncd.errors import NoRestorePoint
from syncd.format.marks import Range
from syncd.policy.inventory import Inventory, Pack
from syncd.policy.ranges import everything, moment, position, ranges_of
from tests.policy.archive import DAY, NOW, G, bundle, generation, joined, pack_id, snapshot, steady

OLD = generation(NOW - 900 * DAY)
THERE = joined(steady(2, of=OLD, until_ms=NOW - 800 * DAY), steady(3))
ENDS = {OLD: 77, G: 120}


def test_everything_is_from_the_first_snapshot_to_the_last_delta() -> None:
    assert everything(THERE, ENDS) == [Range(OLD, 0, 77), Range(G, 0, 120)]
    assert everything(Inventory(snapshots=(snapshot(9, NOW),)), {}) == [Range(G, 9, 9)]
    assert everything(Inventory(snapshots=(snapshot(9, NOW),)), {G: 5}) == [Range(G, 9, 9)]


def test_a_seq_is_one_of_the_newest_generation() -> None:
    assert position(THERE, 120, ENDS) == [Range(G, 120, 120)]
    assert position(THERE, 0, ENDS) == [Range(G, 0, 0)]
    with pytest.raises(NoRestorePoint, match="seq 121 is not kept") as caught:
        position(THERE, 121, ENDS)
    assert caught.value.hint == "seqs 0 to 120 are"


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        (NOW, Range(G, 80, 120)),
        (NOW - DAY, Range(G, 80, 120)),
        (NOW - DAY - 1, Range(G, 40, 80)),
        (NOW - 3 * DAY, Range(G, 0, 40)),
        (NOW - 4 * DAY, Range(OLD, 40, 77)),
    ],
)
def test_a_moment_lies_between_two_snapshots(at_ms: int, expected: Range) -> None:
    assert moment(THERE, at_ms, ENDS) == [expected]


def test_nothing_is_kept_that_early() -> None:
    with pytest.raises(NoRestorePoint, match="nothing is kept as early as"):
        moment(THERE, NOW - 803 * DAY, ENDS)
    with pytest.raises(NoRestorePoint, match="no complete snapshot"):
        everything(Inventory(bundles=(bundle(1, NOW),)), {G: 9})


def test_names_become_runs_of_positions() -> None:
    names = {bundle(n, 0).name for n in (1, 11, 31)} | {snapshot(40, 0).name, snapshot(80, 0).name}
    names.add(Pack(G, pack_id(1), 1, 1).name)
    assert ranges_of(THERE, names) == [Range(G, 1, 20), Range(G, 31, 40), Range(G, 80, 80)]
    assert ranges_of(THERE, set()) == []


@pytest.mark.parametrize(
    ("seqs", "bundles", "wanted", "expected"),
    [
        ([0, 5], [(1, None), (3, 6), (7, None)], [3], [(3, 6)]),
        ([0, 5], [(3, 6), (7, None)], [3], [(5, 6)]),  # to 3 and 4 nothing leads
        ([0, 5], [(1, None), (3, 9)], [1, 3], [(1, 9)]),
        ([0, 5], [(1, None), (3, None)], [3], [(3, 3)]),  # nobody could read it
        ([0, 5], [(3, None)], [3], [(5, 5)]),
        ([4], [(1, None), (3, 3), (5, 9)], [1, 3], []),
        ([4], [(1, None), (3, 3), (5, 9)], [1, 3, 5], [(5, 9)]),
        ([0, 9], [(1, 2), (5, 8), (10, 12)], [1, 5, 10], [(1, 2), (10, 12)]),
        ([], [(0, 2)], [0], []),
    ],
)
def test_a_bundle_is_held_to_its_end_where_a_snapshot_leads_to_it(
    seqs: list[int],
    bundles: list[tuple[int, int | None]],
    wanted: list[int],
    expected: list[tuple[int, int]],
) -> None:
    there = Inventory(
        tuple(snapshot(seq, 0) for seq in seqs),
        (),
        tuple(replace(bundle(first, 0), last_seq=last) for first, last in bundles),
    )
    names = {bundle(first, 0).name for first in wanted}
    assert ranges_of(there, names) == [Range(G, first, last) for first, last in expected]
