"""Which objects a restore reads, from listings alone."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.contents import Contents, plan_restore
from syncd.errors import NoRestorePoint
from syncd.format.names import generation_ms
from syncd.policy.plan import BundleEntry, SnapshotEntry, choose_snapshot, plan_from

OLD, NEW = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"
BEGAN_MS = generation_ms(NEW)


def snapshot(seq: int, *, ms: int | None = None, generation: str = OLD) -> SnapshotEntry:
    return SnapshotEntry(generation, seq, 1000 * seq if ms is None else ms, 4096, 3, 100)


def bundle(first_seq: int, *, generation: str = OLD) -> BundleEntry:
    return BundleEntry(generation, first_seq, 10, 0)


def test_the_newest_snapshot_that_is_not_behind_what_is_asked_for() -> None:
    snapshots = [snapshot(0), snapshot(50), snapshot(20)]
    assert choose_snapshot(snapshots, at_ms=None, seq=None) == snapshot(50)
    assert choose_snapshot(snapshots, at_ms=None, seq=49) == snapshot(20)
    assert choose_snapshot(snapshots, at_ms=None, seq=50) == snapshot(50)
    assert choose_snapshot(snapshots, at_ms=19_999, seq=None) == snapshot(0)
    assert choose_snapshot(snapshots, at_ms=-1, seq=None) is None
    assert choose_snapshot([], at_ms=None, seq=None) is None


def test_a_later_generation_goes_before_a_higher_seq() -> None:
    snapshots = [snapshot(50), snapshot(0, ms=60_000, generation=NEW)]
    assert choose_snapshot(snapshots, at_ms=None, seq=None) == snapshots[1]
    assert choose_snapshot(snapshots, at_ms=59_999, seq=None) == snapshots[0]


def test_a_plan_reads_the_bundle_that_may_reach_over_the_snapshot() -> None:
    bundles = [bundle(n) for n in (31, 1, 11, 21)]
    plan = plan_from(snapshot(15), [snapshot(0), snapshot(15)], bundles, at_ms=None, seq=None)
    assert [each.first_seq for each in plan.bundles] == [11, 21, 31]
    assert plan.bytes == 130
    plan = plan_from(snapshot(15), [snapshot(15)], bundles, at_ms=None, seq=25)
    assert [each.first_seq for each in plan.bundles] == [11, 21]
    assert plan.wants(25)
    assert not plan.wants(26)


def test_a_plan_reads_no_bundle_that_no_lease_would_keep() -> None:
    bundles = [bundle(5), bundle(7), bundle(9)]
    plan = plan_from(snapshot(6), [snapshot(6)], bundles, at_ms=None, seq=6)
    assert plan.bundles == ()
    plan = plan_from(snapshot(6), [snapshot(6)], bundles, at_ms=None, seq=8)
    assert [b.first_seq for b in plan.bundles] == [7]


def test_bundles_of_another_generation_are_not_read() -> None:
    plan = plan_from(snapshot(0), [snapshot(0)], [bundle(1, generation=NEW)], at_ms=None, seq=None)
    assert plan.bundles == ()


def test_a_gap_is_allowed_only_where_a_snapshot_follows() -> None:
    snapshots = [snapshot(0), snapshot(20), snapshot(40)]
    plan = plan_from(snapshot(0), snapshots, [], at_ms=None, seq=None)
    assert plan.next_snapshot == 20
    assert plan.allows_gap(12, 21, 25)  # the snapshot leads on to it
    assert plan.allows_gap(12, 41, 45)
    assert plan.allows_gap(12, 18, 21)  # it reaches over the snapshot
    assert plan.allows_gap(19, 21, 21)
    assert not plan.allows_gap(12, 18, 20)  # it does not
    assert not plan.allows_gap(12, 15, 17)
    assert not plan.allows_gap(12, 22, 30)
    assert not plan.allows_gap(20, 22, 30)
    assert not plan.allows_gap(40, 42, 50)
    last = plan_from(snapshot(40), snapshots, [], at_ms=None, seq=None)
    assert last.next_snapshot is None
    assert not last.allows_gap(42, 44, 50)


@given(
    st.lists(st.integers(0, 60), min_size=1, unique=True),
    st.lists(st.integers(1, 80), unique=True),
    st.none() | st.integers(0, 90),
)
def test_a_plan_misses_nothing(starts: list[int], firsts: list[int], seq: int | None) -> None:
    snapshots = [snapshot(start) for start in starts]
    chosen = choose_snapshot(snapshots, at_ms=None, seq=seq)
    if chosen is None:
        assert seq is not None
        assert seq < min(starts)
        return
    plan = plan_from(chosen, snapshots, [bundle(first) for first in firsts], at_ms=None, seq=seq)
    read = [each.first_seq for each in plan.bundles]
    assert read == sorted(read)
    for first, end in pairwise([*sorted(firsts), 1000]):
        holds_wanted = end - 1 > chosen.seq and (seq is None or first <= seq)
        assert not holds_wanted or first in read


def contents(*snapshots: SnapshotEntry) -> Contents:
    return Contents((OLD, NEW), snapshots, ())


def test_a_seq_without_a_generation_is_one_of_the_newest() -> None:
    both = contents(snapshot(10), snapshot(5, ms=90_000, generation=NEW))
    assert plan_restore(both, seq=7).snapshot.generation == NEW
    assert plan_restore(both, seq=12, generation=OLD).snapshot == snapshot(10)
    with pytest.raises(
        NoRestorePoint, match=r"nothing is kept as early as seq 4 .*the first position is seq 5"
    ):
        plan_restore(both, seq=4)
    with pytest.raises(NoRestorePoint, match="there is no generation X"):
        plan_restore(both, generation="X")


@pytest.mark.parametrize(
    ("stored_ms", "at_ms", "seq", "chosen", "passed_over"),
    [
        ({OLD: 1, NEW: 2}, None, None, NEW, None),
        ({OLD: 2, NEW: 2}, None, None, NEW, None),
        ({OLD: 3, NEW: 2}, None, None, OLD, NEW),
        ({OLD: 3, NEW: 2}, None, 10, OLD, NEW),
        ({OLD: 3, NEW: 2}, BEGAN_MS + 60_000, None, OLD, NEW),
        ({OLD: 3, NEW: 2}, BEGAN_MS - 1, None, OLD, None),
        ({OLD: 1, NEW: 2}, BEGAN_MS - 1, None, OLD, None),
        ({}, None, None, NEW, None),
    ],
)
def test_the_newest_generation_is_the_one_that_was_stored_last(
    stored_ms: dict[str, int], at_ms: int | None, seq: int | None, chosen: str, passed_over: str | None
) -> None:
    snapshots = (snapshot(10), snapshot(5, ms=BEGAN_MS, generation=NEW))
    found = plan_restore(replace(contents(*snapshots), stored_ms=stored_ms), at_ms=at_ms, seq=seq)
    assert (found.snapshot.generation, found.passed_over) == (chosen, passed_over)
    asked = plan_restore(replace(contents(*snapshots), stored_ms=stored_ms), generation=NEW)
    assert (asked.snapshot.generation, asked.passed_over) == (NEW, None)


def test_a_time_before_everything() -> None:
    with pytest.raises(NoRestorePoint, match=r"nothing is kept as early as 1970-01-01T00:00:00\.500Z"):
        plan_restore(contents(snapshot(1)), at_ms=500)
