"""What goes and what stays, object by object, with its reason."""

from collections import Counter
from dataclasses import replace

import pytest

from syncd.format.marks import Purpose, Range
from syncd.policy.inventory import Inventory, Kind, Unreadable
from syncd.policy.retention import Retention
from syncd.policy.verdicts import Verdict, decide
from tests.policy.archive import (
    DAY,
    GRACE,
    HOUR,
    NOW,
    G,
    epoch,
    generation,
    joined,
    mark,
    pack,
    snapshot,
    steady,
)

POLICY = Retention(pitr_ms=7 * DAY, daily=3, max_share=1)


def judged(there: Inventory, retention: Retention = POLICY) -> list[Verdict]:
    return decide(there, retention, now_ms=NOW, grace_ms=GRACE)


def told(there: Inventory, kind: Kind, retention: Retention = POLICY) -> dict[tuple[bool, str], int]:
    return dict(Counter((v.keep, v.reason) for v in judged(there, retention) if v.kind is kind))


def test_every_object_has_its_verdict_in_order() -> None:
    there = steady(10)
    found = judged(there)
    assert [v.kind for v in found] == sorted((v.kind for v in found), key=list(Kind).index)
    assert [v.number for v in found if v.kind is Kind.BUNDLE] == [b.first_seq for b in there.bundles]
    assert len(found) == 10 + 40 + 11 + 1
    assert found[0] == Verdict(
        Kind.SNAPSHOT,
        G,
        0,
        there.snapshots[0].name,
        1000,
        NOW - 10 * DAY,
        keep=False,
        reason="no rule keeps it",
    )


def test_packs_follow_their_snapshots() -> None:
    there = steady(30)
    assert told(there, Kind.SNAPSHOT) == {
        (False, "no rule keeps it"): 22,
        (True, "within pitr"): 5,
        (True, "within pitr, daily 2 of 3"): 1,
        (True, "within pitr, daily 3 of 3"): 1,
        (True, "within pitr, the newest, daily 1 of 3"): 1,
    }
    assert told(there, Kind.BUNDLE) == {(False, "before pitr"): 88, (True, "within pitr"): 32}
    # Pack 0 is needed by every snapshot, those that go and those that stay.
    assert told(there, Kind.PACK) == {
        (False, "only snapshots that go need it"): 22,
        (True, "a snapshot that stays needs it"): 9,
    }
    assert told(there, Kind.EPOCH) == {(True, "the newest of its generation"): 1}


def test_a_generation_goes_as_a_whole() -> None:
    old = generation(NOW - 90 * DAY)
    there = joined(steady(10, of=old, until_ms=NOW - 80 * DAY), steady(30, of=generation(NOW - 30 * DAY)))
    gone = [v for v in judged(there, replace(POLICY, daily=0)) if v.generation == old]
    assert {v.keep for v in gone} == {False}
    assert gone[-1].reason == "nothing of its generation stays"


@pytest.mark.parametrize(
    ("share", "snapshots", "bundles"),
    [
        (0.25, 7, [*range(1, 281, 10), 301, 311]),
        (0.01, 0, [31]),
        (1.0, 22, [*range(1, 881, 10)]),
    ],
)
def test_one_run_removes_a_share_of_each_kind_the_oldest_stretch_first_from_its_end(
    share: float, snapshots: int, bundles: list[int]
) -> None:
    there = steady(30)
    found = judged(there, replace(POLICY, max_share=share))
    gone = {kind: [v.number for v in found if v.kind is kind and not v.keep] for kind in Kind}
    assert gone[Kind.SNAPSHOT] == [s.seq for s in there.snapshots[:snapshots]]
    assert gone[Kind.BUNDLE] == bundles
    assert len(gone[Kind.PACK]) == snapshots
    late = {v.reason for v in found if v.keep and v.kind is Kind.SNAPSHOT and v.dated_ms < NOW - 9 * DAY}
    assert late == ({f"over the share of {share:.0%} for one run"} if share < 1 else set())


def test_what_is_tombstoned_does_not_count_to_the_share_again() -> None:
    there = steady(30)
    policy = replace(POLICY, max_share=0.1)
    first = {v.name for v in judged(there, policy) if not v.keep}
    second = {v.name for v in judged(replace(there, tombstoned=frozenset(first)), policy) if not v.keep}
    assert first < second
    assert len([n for n in second - first if "/snapshots/" in n]) == 3
    assert len([n for n in second - first if "/deltas/" in n]) == 12


@pytest.mark.parametrize(
    ("age", "keep", "reason"),
    [
        (GRACE - 1, True, "younger than the grace: it may belong to a snapshot that is being taken"),
        (GRACE, False, "no snapshot needs it"),
        (-6 * HOUR, True, "dated in the future"),
    ],
)
def test_a_pack_that_nobody_needs(age: int, keep: bool, reason: str) -> None:
    there = joined(steady(30), Inventory(packs=(pack(99, NOW - age),)))
    assert [(v.keep, v.reason) for v in judged(there) if v.name == pack(99, 0).name] == [(keep, reason)]


def test_a_lease_of_a_snapshot_keeps_the_packs_of_its_generation() -> None:
    other = generation(NOW - 500 * DAY)
    there = joined(
        steady(30),
        Inventory(
            packs=(pack(99, NOW - 9 * DAY), pack(99, NOW - 9 * DAY, of=other)),
            marks=(mark(Range(G, 999, 999), purpose=Purpose.SNAPSHOT, reason=""),),
        ),
    )
    found = {v.generation: v.reason for v in judged(there) if v.name.endswith(f"/packs/{99:032x}")}
    assert found == {
        G: "it may belong to a snapshot that is being taken",
        other: "no snapshot needs it",
    }
    assert told(there, Kind.LEASE) == {(True, "a snapshot is being taken from here"): 1}


def test_a_manifest_that_cannot_be_read_keeps_every_pack_of_its_generation() -> None:
    other = generation(NOW - 500 * DAY)
    there = joined(
        steady(30),
        Inventory(unreadable=(Unreadable(G, 5, 9, NOW - 99 * DAY),)),
        steady(3, of=other, until_ms=NOW - 400 * DAY),
    )
    policy = replace(POLICY, daily=0)
    found = judged(there, policy)
    assert {(v.generation, v.keep, v.reason) for v in found if v.kind is Kind.PACK} == {
        (G, True, "a snapshot that stays needs it"),
        (G, True, "a manifest of its generation cannot be read"),
        (other, False, "only snapshots that go need it"),
    }
    assert told(there, Kind.SNAPSHOT, policy)[True, "it cannot be read"] == 1


def test_a_generation_that_just_begins_keeps_its_epochs() -> None:
    young, newest, future = (generation(NOW + ms) for ms in (-2 * HOUR, -HOUR, DAY))
    old = generation(NOW - 9 * DAY)
    there = Inventory(epochs=tuple(epoch(1, NOW - 8 * DAY, of=of) for of in (old, young, newest, future)))
    assert [(v.generation, v.keep, v.reason) for v in judged(there)] == [
        (old, False, "nothing of its generation stays"),
        (young, True, "younger than the grace: its generation may just begin"),
        (newest, True, "the newest of its generation"),
        (future, True, "dated in the future"),
    ]


def test_what_a_future_snapshot_needs_stays() -> None:
    odd = snapshot(5000, NOW + DAY, packs=(77,))
    there = joined(steady(30), Inventory(snapshots=(odd,), packs=(pack(77, NOW - 9 * DAY),)))
    found = {v.name: v.reason for v in judged(there)}
    assert found[odd.name] == "dated in the future"
    assert found[pack(77, 0).name] == "a snapshot that stays needs it"


@pytest.mark.parametrize(
    ("purpose", "kind", "reason"),
    [
        (Purpose.HOLD, Kind.HOLD, f"hold {mark().mark_id} until 2026-11-24T10:00:00.000Z: case 7"),
        (Purpose.RESTORE, Kind.LEASE, "a restore is reading it"),
        (Purpose.PRUNE, Kind.LEASE, "a prune is running"),
    ],
)
def test_a_mark_stays_until_it_expires(purpose: Purpose, kind: Kind, reason: str) -> None:
    active = Inventory(marks=(mark(purpose=purpose),))
    assert told(active, kind) == {(True, reason): 1}
    assert told(Inventory(marks=(mark(purpose=purpose, until_ms=NOW),)), kind) == {
        (False, "it has expired"): 1
    }
