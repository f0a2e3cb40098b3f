"""What belongs to which snapshot, where bundles end, and that what stays is never torn."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.format.marks import Purpose, Range
from syncd.format.names import MAX_SEQ
from syncd.policy.inventory import Bundle, Inventory
from syncd.policy.retention import Retention, promised, unsure
from syncd.policy.stretches import doubtful, ends, open_ended, stretches
from syncd.policy.verdicts import decide
from tests.policy.archive import DAY, GRACE, NOW, G, bundle, generation, joined, mark, retentions, snapshot

OLD_MS = NOW - 90 * DAY
NOTHING = Retention(pitr_ms=0, max_share=1.0)


def archive(snapshots: list[int], bundles: list[tuple[int, int | None]], *, of: str = G) -> Inventory:
    """Snapshots by seq, bundles by their ends, None where nobody read it."""
    return Inventory(
        tuple(snapshot(seq, OLD_MS, of=of) for seq in snapshots),
        (),
        tuple(replace(bundle(first, OLD_MS, of=of), last_seq=last) for first, last in bundles),
    )


def told(there: Inventory) -> list[tuple[int | None, list[int]]]:
    return [
        (s.snapshot.seq if s.snapshot else None, [b.first_seq for b in s.bundles]) for s in stretches(there)
    ]


@pytest.mark.parametrize(
    ("snapshots", "bundles", "expected"),
    [
        ([0, 5], [(1, None), (3, None), (6, None)], [(0, [1, 3]), (5, [6])]),
        ([0, 5], [(1, None), (3, 6), (7, None)], [(0, [1]), (5, [3, 7])]),
        ([0, 5], [(1, None), (3, 5)], [(0, [1, 3]), (5, [])]),
        ([0, 5], [(1, None), (3, None)], [(0, [1]), (5, [3])]),
        ([0, 5, 8], [(1, 2), (9, None)], [(0, [1]), (5, []), (8, [9])]),
        ([5], [(1, None), (3, 4), (6, None)], [(None, [1, 3]), (5, [6])]),
        ([], [(1, None)], [(None, [1])]),
    ],
)
def test_a_bundle_belongs_to_the_last_snapshot_in_front_of_its_end(
    snapshots: list[int], bundles: list[tuple[int, int | None]], expected: list[tuple[int | None, list[int]]]
) -> None:
    assert told(archive(snapshots, bundles)) == expected


def test_generations_do_not_mix() -> None:
    other = generation(NOW - DAY)
    there = joined(archive([0], [(1, None)]), archive([3], [(2, 5)], of=other))
    assert told(there) == [(0, [1]), (3, [2])]


def test_a_bundle_ends_where_it_says_or_where_the_next_begins() -> None:
    there = archive([], [(1, None), (4, 5), (9, None)])
    assert ends(there.bundles) == [3, 5, MAX_SEQ]
    assert ends([]) == []


@pytest.mark.parametrize(
    ("snapshots", "bundles", "expected"),
    [
        ([0, 5], [(1, None), (3, None), (6, None)], []),
        ([0, 5], [(1, None), (3, None), (7, None)], [3]),
        ([0, 5], [(1, None), (3, 6), (7, None)], []),
        ([0, 5, 8], [(1, None), (9, None)], [1]),
        ([0, 5], [(1, None), (3, None)], [3]),
        ([0], [(1, None)], []),
    ],
)
def test_where_names_do_not_tell_it(
    snapshots: list[int], bundles: list[tuple[int, int | None]], expected: list[int]
) -> None:
    assert [b.first_seq for b in doubtful(archive(snapshots, bundles))] == expected


def test_what_the_rule_keeps_anyway_is_not_read() -> None:
    there = archive([0, 5, 12], [(1, None), (3, None), (7, None), (11, None)])
    assert [b.first_seq for b in doubtful(there)] == [3, 11]
    assert [b.first_seq for b in unsure(there, NOTHING, NOW)] == [3, 11]
    assert [b.first_seq for b in unsure(there, Retention(pitr_ms=100 * DAY), NOW)] == []


def test_the_last_bundle_of_an_idle_database_goes_where_it_ends_at_the_snapshot() -> None:
    there = archive([5, 8], [(6, None)])
    assert [b.first_seq for b in promised(there, NOTHING, NOW).bundles] == [6]
    for last, kept in ((8, []), (9, [6])):
        there = archive([5, 8], [(6, last)])
        assert [b.first_seq for b in promised(there, NOTHING, NOW).bundles] == kept


def test_a_lease_keeps_what_its_reader_wants_by_name() -> None:
    there = archive([5, 8], [(6, 8)])
    for purpose, kept in ((Purpose.RESTORE, [6]), (Purpose.HOLD, [])):
        leased = replace(there, marks=(mark(Range(G, 8, 8), purpose=purpose),))
        assert [b.first_seq for b in promised(leased, NOTHING, NOW).bundles] == kept


def test_what_is_dated_in_the_future_keeps_what_leads_to_it() -> None:
    there = archive([0, 9], [(1, None), (3, None), (5, None), (7, None), (10, None)])
    late = replace(there.bundles[2], stored_ms=NOW + DAY)
    there = replace(there, bundles=(*there.bundles[:2], late, *there.bundles[3:]))
    found = {v.number: v.reason for v in decide(there, NOTHING, now_ms=NOW, grace_ms=GRACE) if v.keep}
    assert found[1] == found[3] == found[0] == "what stays behind it needs it"
    assert 7 not in found


@st.composite
def chains(draw: st.DrawFn) -> Inventory:
    """A whole archive: one snapshot at the beginning, deltas without a gap, snapshots anywhere."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    bundles: list[Bundle] = []
    seq = 0
    for length in lengths:
        bundles.append(replace(bundle(seq + 1, NOW - (50 - seq) * DAY), last_seq=seq + length))
        seq += length
    seqs = {0, *draw(st.sets(st.integers(0, seq), max_size=6))}
    points = tuple(snapshot(n, NOW - (50 - n) * DAY) for n in sorted(seqs))
    held = tuple(
        mark(Range(G, first, first + length))
        for first, length in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=2))
    )
    return Inventory(points, (), tuple(bundles), marks=held)


def torn(there: Inventory) -> list[int]:
    """Bundles to which no snapshot leads without a gap."""
    found = []
    for each in there.bundles:
        assert each.last_seq is not None
        base = max((s.seq for s in there.snapshots if s.seq < each.last_seq), default=None)
        has = {n for b in there.bundles if b.last_seq for n in range(b.first_seq, b.last_seq + 1)}
        whole = base is not None and all(n in has for n in range(base + 1, each.first_seq))
        if not whole:
            found.append(each.first_seq)
    return found


@given(chains(), st.lists(retentions, min_size=1, max_size=4), st.data())
def test_whatever_goes_leaves_snapshots_with_unbroken_runs(
    there: Inventory, rules: list[Retention], data: st.DataObject
) -> None:
    """Run after run with other rules, other holds, and tombstones of runs before that never ended."""
    for rule in rules:
        if data.draw(st.booleans()):
            there = replace(there, marks=())
        gone = {v.name for v in decide(there, rule, now_ms=NOW, grace_ms=GRACE) if not v.keep}
        there = replace(
            there,
            snapshots=tuple(s for s in there.snapshots if s.name not in gone),
            bundles=tuple(b for b in there.bundles if b.name not in gone),
        )
        assert torn(there) == []
        names = [b.name for b in there.bundles]
        if names:
            there = replace(there, tombstoned=frozenset(data.draw(st.lists(st.sampled_from(names)))))


def test_where_every_name_tells_it_nothing_is_read() -> None:
    assert unsure(archive([0], [(1, None), (5, None)]), NOTHING, NOW) == []


@pytest.mark.parametrize(
    ("snapshots", "bundles", "expected"),
    [
        ([0], [(1, None), (5, None)], [5]),
        ([0, 5], [(1, None), (4, None)], [4]),
        ([0, 3], [(1, None), (6, None)], [1, 6]),
        ([0], [(1, None), (5, 9)], []),
        ([0], [], []),
    ],
)
def test_the_last_one_s_end_is_not_in_a_name(
    snapshots: list[int], bundles: list[tuple[int, int | None]], expected: list[int]
) -> None:
    assert [b.first_seq for b in open_ended(archive(snapshots, bundles))] == expected
