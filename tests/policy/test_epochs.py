"""Which epochs are needed, which bundles tell it, and what is said of each."""

from dataclasses import replace

import pytest

from syncd.policy.epochs import needs, to_read
from syncd.policy.inventory import Bundle, Inventory, Kind, Snapshot, Unreadable
from syncd.policy.retention import Retention
from syncd.policy.verdicts import decide
from tests.policy.archive import DAY, GRACE, HOUR, NOW, G, bundle, epoch, generation, joined, pack, snapshot

EVERYTHING = Retention(pitr_ms=4000 * DAY, max_share=1.0)
NEWEST = "the newest of its generation"
NAMED = "a snapshot that is there needs it"
DELTAS = "deltas that are there or to come need it"
TAKEN = "it may belong to a snapshot that is being taken"
UNREADABLE = "a manifest of its generation cannot be read"


def point(seq: int, *epochs: int) -> Snapshot:
    return replace(snapshot(seq, NOW - 90 * DAY), epochs=frozenset(epochs))


def piece(first: int, last: int | None, *epochs: int) -> Bundle:
    found = (min(epochs), max(epochs)) if epochs else None
    return replace(bundle(first, NOW - 90 * DAY), last_seq=last, epochs=found)


def archive(*points: Snapshot | Bundle, count: int = 9) -> Inventory:
    """Epochs 1 to `count`, one for each day of long ago."""
    return Inventory(
        tuple(p for p in points if isinstance(p, Snapshot)),
        (),
        tuple(p for p in points if isinstance(p, Bundle)),
        (),
        tuple(epoch(n, NOW - (60 - n) * DAY) for n in range(1, count + 1)),
    )


def told(there: Inventory) -> dict[int | None, str]:
    """Why epochs stay; those that go are left out."""
    found = decide(there, EVERYTHING, now_ms=NOW, grace_ms=GRACE)
    return {v.number: v.reason for v in found if v.kind is Kind.EPOCH and v.keep}


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        # A snapshot alone tells nothing of deltas that are to come.
        ([point(0, 5)], set(range(1, 10))),
        # They follow the last one, also where the snapshot overtook some.
        ([point(0, 1, 3), piece(1, 4, 6), point(4, 8)], {1, 3, 6, 7, 8, 9}),
        ([point(0, 1, 3), piece(1, 4, 6), point(7, 9)], {1, 3, 6, 7, 8, 9}),
        # The run at the end needs all from its first delta's on.
        ([point(0, 2), piece(1, None, 3), piece(4, None, 6)], {2, *range(3, 10)}),
        ([point(0, 2), piece(1, None, 3), point(5, 4), piece(6, 9, 6)], {2, 4, *range(3, 10)}),
        # An old run that is held, snapshots alone, the run at the end.
        (
            [point(0, 1), piece(1, 4, 1), piece(5, 9, 2), point(9, 3), point(20, 4), piece(21, None, 7)],
            {1, 2, 3, 4, 7, 8, 9},
        ),
        # Between two bundles that were read there is a gap.
        ([point(0, 1), piece(1, 4, 1), point(20, 5), piece(21, 25, 7)], {1, 5, 7, 8, 9}),
        # Nobody knows where the first one ends, so they may be a run.
        ([point(0, 1), piece(1, None, 1), point(20, 5), piece(21, None, 7)], set(range(1, 10))),
        # A bundle that could not be read needs all.
        ([point(0, 2), piece(1, None), piece(9, None, 8)], set(range(1, 10))),
        ([point(0, 2), piece(1, 3, 2), piece(4, None), point(9, 8)], set(range(2, 10))),
        # A bundle without a snapshot is a run too.
        ([piece(1, None, 8)], {8, 9}),
    ],
)
def test_what_is_needed(points: list[Snapshot | Bundle], kept: set[int]) -> None:
    assert told(archive(*points)).keys() == kept


def test_what_is_said() -> None:
    there = archive(point(0, 2, 6), piece(1, None, 8))
    assert told(there) == {2: NAMED, 6: NAMED, 8: DELTAS, 9: NEWEST}
    gone = [v for v in decide(there, EVERYTHING, now_ms=NOW, grace_ms=GRACE) if not v.keep]
    assert {v.reason for v in gone} == {"nothing that is there needs it"}


def test_nothing_goes_while_a_snapshot_may_be_taken_or_cannot_be_read() -> None:
    there = archive(piece(1, 4, 8), point(4, 9))
    for more, reason in (
        (Inventory(packs=(pack(7, NOW - HOUR),)), TAKEN),
        (Inventory(unreadable=(Unreadable(G, 5, 9, NOW - DAY),)), UNREADABLE),
    ):
        assert set(told(joined(there, more)).values()) == {NAMED, NEWEST, DELTAS, reason} - {NAMED}


def test_an_epoch_is_as_old_as_the_one_after_it() -> None:
    there = archive(piece(1, 4, 8), point(4, 9))
    young = replace(there.epochs[5], stored_ms=NOW - GRACE + 1)
    found = told(replace(there, epochs=(*there.epochs[:5], young, *there.epochs[6:])))
    assert found == {5: "younger than the grace: deltas that name it may come", 8: DELTAS, 9: NEWEST}
    late = replace(young, stored_ms=NOW + DAY)
    found = told(replace(there, epochs=(*there.epochs[:5], late, *there.epochs[6:])))
    assert found[5] == found[6] == "dated in the future"


def test_a_generation_of_epochs_alone_keeps_them() -> None:
    there = archive()
    assert set(told(there).values()) == {DELTAS, NEWEST}
    assert needs(there) == {}


def test_the_ends_of_runs_are_read_where_an_epoch_may_go() -> None:
    points: list[Snapshot | Bundle] = [
        point(0, 9),
        piece(1, 4),
        piece(5, 9),
        piece(10, 12),
        point(12, 9),
        point(20, 9),
        piece(21, None),
    ]
    there = archive(*points)
    assert [b.first_seq for b in to_read(there, now_ms=NOW, grace_ms=GRACE)] == [1, 10, 21]
    assert to_read(there, now_ms=NOW, grace_ms=60 * DAY) == []
    assert to_read(archive(*points, count=1), now_ms=NOW, grace_ms=GRACE) == []
    named = archive(point(0, *range(1, 10)), *points[1:])
    assert to_read(named, now_ms=NOW, grace_ms=GRACE) == []
    held = archive(point(0, 1), piece(1, None), point(9, 2), point(20, 9), piece(21, None))
    assert [b.first_seq for b in to_read(held, now_ms=NOW, grace_ms=GRACE)] == [1]
    read = archive(point(0, 1), piece(1, 4, 1), point(9, 2), point(20, 9), piece(21, None))
    assert [b.first_seq for b in to_read(read, now_ms=NOW, grace_ms=GRACE)] == [21]
    other = archive(count=9)
    other = replace(other, epochs=tuple(replace(e, generation=generation(NOW - DAY)) for e in other.epochs))
    assert to_read(other, now_ms=NOW, grace_ms=GRACE) == []
