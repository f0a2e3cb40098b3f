"""Keep or remove, and why, for every object. Pure; `now` is an argument.

- Of snapshots and bundles goes what the rule does not promise, oldest first, and at most a share of each
  kind per run; what is to go already does not count again.
- A pack goes with the last manifest that needs it, not before. One that no manifest needs may belong to a
  snapshot that is being taken: it waits for the grace, and as long as a lease names its generation.
- Where a manifest cannot be read, no pack of its generation goes, nor the manifest.
- Epochs go with the last object of their generation, never those of the newest generation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from syncd.format.marks import Mark, Purpose
from syncd.format.names import generation_ms, hold_name, lease_name
from syncd.policy.inventory import Bundle, Epoch, Inventory, Kind, Object, Pack, Snapshot, is_future
from syncd.policy.retention import FUTURE, Promise, Retention, mark_text, promised

_T = TypeVar("_T", Snapshot, Bundle)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one object. `number` is its seq or number, None for packs and marks.

    `dated_ms` is when a snapshot was captured, a mark was made, and any other object was stored. Marks have
    no generation, and their size is not looked at.
    """

    kind: Kind
    generation: str
    number: int | None
    name: str
    size: int
    dated_ms: int
    keep: bool
    reason: str


def decide(inventory: Inventory, retention: Retention, *, now_ms: int, grace_ms: int) -> list[Verdict]:
    """One verdict per object, by generation, kind and number; marks at the end."""
    promise = promised(inventory, retention, now_ms)
    judge = _Judge(inventory, retention, promise, now_ms=now_ms, grace_ms=grace_ms)
    return [*judge.objects(), *(_mark(mark, now_ms) for mark in sorted(inventory.marks, key=_mark_name))]


class _Judge:
    def __init__(
        self, inventory: Inventory, retention: Retention, promise: Promise, *, now_ms: int, grace_ms: int
    ) -> None:
        self._there = inventory
        self._promise = promise
        self._now_ms = now_ms
        self._grace_ms = grace_ms
        self._share = retention.max_share
        self._over = f"over the share of {retention.max_share:.0%} for one run"
        self._unreadable = {m.generation for m in inventory.unreadable}
        active = [m for m in inventory.marks if now_ms < m.until_ms]
        self._leased = {r.generation for m in active if m.purpose is Purpose.SNAPSHOT for r in m.ranges}

    def objects(self) -> list[Verdict]:
        there = self._there
        found = self._snapshots() + self._bundles()
        found += [
            _verdict(Kind.SNAPSHOT, m.seq, m, m.stored_ms, "it cannot be read") for m in there.unreadable
        ]
        kept = {v.name for v in found if v.keep}
        needed = {(s.generation, p) for s in there.snapshots if s.name in kept for p in s.packs}
        goes = {(s.generation, p) for s in there.snapshots if s.name not in kept for p in s.packs}
        found += [self._pack(pack, needed, goes) for pack in there.packs]
        occupied = {v.generation for v in found if v.keep}
        present = [g for g in there.generations if not is_future(g, self._now_ms)]
        occupied.update(present[-1:])
        found += [self._epoch(epoch, occupied) for epoch in there.epochs]
        kinds = list(Kind)
        return sorted(found, key=lambda v: (v.generation, kinds.index(v.kind), v.number or 0, v.name))

    def _snapshots(self) -> list[Verdict]:
        order = sorted(self._there.snapshots, key=lambda s: (s.generation, s.seq))
        kept = self._promise.snapshots
        waiting = self._over_share(order, [s for s in order if s not in kept])
        return [
            _verdict(Kind.SNAPSHOT, s.seq, s, s.captured_ms, ", ".join(kept[s]))
            if s in kept
            else _verdict(Kind.SNAPSHOT, s.seq, s, s.captured_ms, self._over)
            if s in waiting
            else _verdict(Kind.SNAPSHOT, s.seq, s, s.captured_ms, "no rule keeps it", keep=False)
            for s in order
        ]

    def _bundles(self) -> list[Verdict]:
        order = sorted(self._there.bundles, key=lambda b: (b.generation, b.first_seq))
        kept = self._promise.bundles
        waiting = self._over_share(order, [b for b in order if b not in kept])
        return [
            _verdict(Kind.BUNDLE, b.first_seq, b, b.stored_ms, kept[b])
            if b in kept
            else _verdict(Kind.BUNDLE, b.first_seq, b, b.stored_ms, self._over)
            if b in waiting
            else _verdict(Kind.BUNDLE, b.first_seq, b, b.stored_ms, "before pitr", keep=False)
            for b in order
        ]

    def _over_share(self, everything: Sequence[_T], superfluous: Iterable[_T]) -> set[_T]:
        """Those that have to wait for another run: all but the oldest that are not tombstoned yet."""
        new = [each for each in superfluous if each.name not in self._there.tombstoned]
        return set(new[max(1, int(self._share * len(everything))) :])

    def _pack(self, pack: Pack, needed: set[tuple[str, bytes]], goes: set[tuple[str, bytes]]) -> Verdict:
        which = (pack.generation, pack.pack_id)
        keep = True
        if which in needed:
            reason = "a snapshot that stays needs it"
        elif is_future(pack.generation, self._now_ms, pack.stored_ms):
            reason = FUTURE
        elif pack.generation in self._unreadable:
            reason = "a manifest of its generation cannot be read"
        elif which in goes:
            reason, keep = "only snapshots that go need it", False
        elif pack.generation in self._leased:
            reason = "it may belong to a snapshot that is being taken"
        elif self._young(pack.stored_ms):
            reason = "younger than the grace: it may belong to a snapshot that is being taken"
        else:
            reason, keep = "no snapshot needs it", False
        return _verdict(Kind.PACK, None, pack, pack.stored_ms, reason, keep=keep)

    def _epoch(self, epoch: Epoch, occupied: set[str]) -> Verdict:
        keep = True
        if epoch.generation in occupied:
            reason = "its generation stays"
        elif is_future(epoch.generation, self._now_ms, epoch.stored_ms):
            reason = FUTURE
        elif epoch.generation in self._leased or self._young(
            max(epoch.stored_ms, generation_ms(epoch.generation))
        ):
            reason = "younger than the grace: its generation may just begin"
        else:
            reason, keep = "nothing of its generation stays", False
        return _verdict(Kind.EPOCH, epoch.number, epoch, epoch.stored_ms, reason, keep=keep)

    def _young(self, stored_ms: int) -> bool:
        return self._now_ms < stored_ms + self._grace_ms


def _verdict(
    kind: Kind, number: int | None, of: Object, dated_ms: int, reason: str, *, keep: bool = True
) -> Verdict:
    return Verdict(kind, of.generation, number, of.name, of.size, dated_ms, keep, reason)


def _mark_name(mark: Mark) -> str:
    return hold_name(mark.mark_id) if mark.purpose is Purpose.HOLD else lease_name(mark.mark_id)


def _mark(mark: Mark, now_ms: int) -> Verdict:
    kind = Kind.HOLD if mark.purpose is Purpose.HOLD else Kind.LEASE
    keep = now_ms < mark.until_ms
    reason = mark_text(mark) if keep else "it has expired"
    return Verdict(kind, "", None, _mark_name(mark), 0, mark.created_ms, keep, reason)
