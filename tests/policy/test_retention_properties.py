"""What holds for every archive and every policy."""

import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.format.marks import Range
from syncd.policy.inventory import SKEW_MS, Bundle, Epoch, Inventory, Kind, Snapshot, is_future
from syncd.policy.retention import Retention, promised
from syncd.policy.verdicts import decide
from tests.policy.archive import GRACE, NOW, inventories, mark, retentions

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def removed(there: Inventory, retention: Retention, now_ms: int = NOW) -> set[str]:
    return {v.name for v in decide(there, retention, now_ms=now_ms, grace_ms=GRACE) if not v.keep}


def without(there: Inventory, names: set[str]) -> Inventory:
    return replace(
        there,
        snapshots=tuple(s for s in there.snapshots if s.name not in names),
        bundles=tuple(b for b in there.bundles if b.name not in names),
        packs=tuple(p for p in there.packs if p.name not in names),
        epochs=tuple(e for e in there.epochs if e.name not in names),
    )


def steady(there: Inventory) -> Inventory:
    """What does not look different once its neighbours went.

    - The end of a bundle, which the next one's name tells: a run reads those of which none does (`unsure`).
    - When a generation received something last: it came in its order, on a clock that is not set back.
    """
    snapshots: list[Snapshot] = []
    bundles: list[Bundle] = []
    for generation in there.generations:
        mine = sorted((b for b in there.bundles if b.generation == generation), key=lambda b: b.first_seq)
        ends = {b.name: following.first_seq - 1 for b, following in pairwise(mine)}
        came: list[Snapshot | Bundle] = [*mine, *(s for s in there.snapshots if s.generation == generation)]
        latest = 0
        for each in sorted(came, key=lambda o: o.seq if isinstance(o, Snapshot) else o.first_seq):
            latest = max(latest, each.stored_ms)
            if isinstance(each, Snapshot):
                snapshots.append(replace(each, stored_ms=latest))
            else:
                last = ends.get(each.name) if each.last_seq is None else each.last_seq
                bundles.append(replace(each, last_seq=last, stored_ms=latest))
    return replace(there, snapshots=tuple(snapshots), bundles=tuple(bundles))


def restorable(there: Inventory, generation: str, seq: int) -> tuple[Snapshot | None, frozenset[Bundle]]:
    """What a restore of a position reads, found without any help of the code under test."""
    mine = [s for s in there.snapshots if s.generation == generation and s.seq <= seq]
    base = max(mine, key=lambda s: s.seq, default=None)
    after = base.seq if base else -1
    bundles = sorted((b for b in there.bundles if b.generation == generation), key=lambda b: b.first_seq)
    ends = [b.first_seq - 1 for b in bundles[1:]] + [1 << 64]
    reach = zip(bundles, ends, strict=False)
    return base, frozenset(b for b, end in reach if b.first_seq <= seq and end > after)


@relaxed
@given(inventories(), retentions)
def test_every_object_gets_one_verdict(there: Inventory, retention: Retention) -> None:
    found = decide(there, retention, now_ms=NOW, grace_ms=GRACE)
    names = [v.name for v in found if v.generation]
    assert sorted(names) == sorted(o.name for o in there.objects)
    assert all(v.reason for v in found)


@relaxed
@given(inventories(), retentions)
def test_the_newest_never_goes(there: Inventory, retention: Retention) -> None:
    gone = removed(there, retention)
    countable = [s for s in there.snapshots if not is_future(s.generation, NOW, s.captured_ms, s.stored_ms)]
    newest = sorted(countable, key=lambda s: (s.generation, s.seq))[-max(1, retention.minimum) :]
    assert not {s.name for s in newest} & gone


@relaxed
@given(inventories(), retentions)
def test_what_is_dated_in_the_future_stays(there: Inventory, retention: Retention) -> None:
    gone = removed(there, retention)
    for s in there.snapshots:
        if max(s.captured_ms, s.stored_ms) > NOW + SKEW_MS:
            assert s.name not in gone
    for other in there.objects:
        if other.stored_ms > NOW + SKEW_MS:
            assert other.name not in gone


@relaxed
@given(inventories(), retentions)
def test_no_kept_snapshot_misses_a_pack_or_an_epoch(there: Inventory, retention: Retention) -> None:
    gone = removed(there, retention)
    kept = without(there, gone)
    for s in kept.snapshots:
        assert {p for p in there.packs if p.generation == s.generation and p.pack_id in s.packs} <= set(
            kept.packs
        )
    occupied = {o.generation for o in kept.objects if not isinstance(o, Epoch)}
    assert {e for e in there.epochs if e.generation in occupied} <= set(kept.epochs)


@relaxed
@given(inventories(), retentions, st.data())
def test_every_promised_position_is_read_from_the_same_objects_afterwards(
    there: Inventory, retention: Retention, data: st.DataObject
) -> None:
    promise = promised(there, retention, NOW)
    kept = without(there, removed(there, retention))
    for each in promise.ranges:
        seqs = st.integers(each.first_seq, min(each.last_seq, each.first_seq + 300))
        for seq in {each.first_seq, min(each.last_seq, 400), data.draw(seqs)}:
            if seq >= each.first_seq:
                assert restorable(kept, each.generation, seq) == restorable(there, each.generation, seq)
    for s in promise.snapshots:
        assert s in kept.snapshots


@relaxed
@given(inventories(), retentions, st.data())
def test_a_hold_only_ever_keeps_more(there: Inventory, retention: Retention, data: st.DataObject) -> None:
    retention = replace(retention, max_share=1.0)
    first = data.draw(st.integers(0, 220))
    generation = data.draw(st.sampled_from(there.generations or ["0" * 26]))
    held = replace(there, marks=(*there.marks, mark(Range(generation, first, first + 30))))
    assert removed(held, retention) <= removed(there, retention)


@relaxed
@given(inventories(), retentions)
def test_a_run_after_a_run_finds_nothing_new(there: Inventory, retention: Retention) -> None:
    there, retention = steady(there), replace(retention, max_share=1.0)
    gone = removed(there, retention)
    again = removed(without(there, gone), retention)
    assert {n for n in again if n.startswith("generations/")} <= set()


@relaxed
@given(inventories(), retentions, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_listed_does_not_matter(
    there: Inventory, retention: Retention, rng: random.Random
) -> None:
    shuffled = Inventory(
        tuple(rng.sample(there.snapshots, len(there.snapshots))),
        tuple(rng.sample(there.unreadable, len(there.unreadable))),
        tuple(rng.sample(there.bundles, len(there.bundles))),
        tuple(rng.sample(there.packs, len(there.packs))),
        tuple(rng.sample(there.epochs, len(there.epochs))),
        tuple(rng.sample(there.marks, len(there.marks))),
        there.tombstoned,
    )
    before, after = (decide(t, retention, now_ms=NOW, grace_ms=GRACE) for t in (there, shuffled))
    assert before == after


@relaxed
@given(inventories(), retentions)
def test_a_share_is_all_that_goes_new_in_one_run(there: Inventory, retention: Retention) -> None:
    found = [
        v
        for v in decide(there, retention, now_ms=NOW, grace_ms=GRACE)
        if not v.keep and v.name not in there.tombstoned
    ]
    for kind, count in ((Kind.SNAPSHOT, len(there.snapshots)), (Kind.BUNDLE, len(there.bundles))):
        assert len([v for v in found if v.kind is kind]) <= max(1, int(retention.max_share * count))
