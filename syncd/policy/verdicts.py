"""Keep or remove, and why, for every object. Pure; `now` is an argument.

- Of snapshots and bundles goes what the rule does not promise, the oldest stretch first, each from its end
  and its snapshot last; and at most a share of each kind per run. What is to go already does not count again.
- What leads to a delta that stays, stays.
- A pack goes with the last manifest that needs it, not before. One that no manifest needs may belong to a
  snapshot that is being taken: it waits for the grace, and as long as a lease names its generation.
- Where a manifest cannot be read, no pack of its generation goes, nor the manifest.
- An epoch goes when nothing that is there needs it, and after the grace nothing can come that does; or with
  the last object of its generation. The newest of a generation that stays, stays.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from syncd.format.marks import Mark, Purpose
from syncd.format.names import generation_ms, hold_name, lease_name
from syncd.policy.epochs import Needs, needs, replaced_ms
from syncd.policy.inventory import Bundle, Epoch, Inventory, Kind, Object, Pack, Snapshot, is_future
from syncd.policy.retention import FUTURE, Promise, Retention, mark_text, promised
from syncd.policy.stretches import Stretch, stretches

UNUSED_EPOCH: Final = "nothing that is there needs it"
_NEEDED: Final = "what stays behind it needs it"
_UNREADABLE: Final = "a manifest of its generation cannot be read"
_UNKNOWN: Final = Needs()
_BEING_TAKEN: Final = "it may belong to a snapshot that is being taken"


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
        self._needs, self._replaced_ms = needs(inventory), replaced_ms(inventory)
        self._leased = {r.generation for m in active if m.purpose is Purpose.SNAPSHOT for r in m.ranges}
        named = {(s.generation, p) for s in inventory.snapshots for p in s.packs}
        unnamed = {p.generation for p in inventory.packs if (p.generation, p.pack_id) not in named}
        self._taking = self._leased | unnamed

    def objects(self) -> list[Verdict]:
        there = self._there
        waiting = self._waiting()
        found = [self._snapshot(s, waiting) for s in there.snapshots]
        found += [self._bundle(b, waiting) for b in there.bundles]
        found += [
            _verdict(
                Kind.SNAPSHOT,
                m.seq,
                m,
                m.stored_ms,
                f"it cannot be read: {m.why}" if m.why else "it cannot be read",
            )
            for m in there.unreadable
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

    def _waiting(self) -> dict[str, str]:
        """The snapshots and bundles that no rule keeps and that stay for now, with the reason."""
        there, waiting = self._there, dict[str, str]()
        bundles = _Allowance(self._share, len(there.bundles), there.tombstoned)
        snapshots = _Allowance(self._share, len(there.snapshots), there.tombstoned)
        for stretch in stretches(there):
            self._shorten(stretch, bundles, waiting)
            snapshot = stretch.snapshot
            if snapshot is None or snapshot in self._promise.snapshots:
                continue
            if reason := self._needed_by(stretch, snapshot, waiting):
                waiting[snapshot.name] = reason
            elif not snapshots.take(snapshot.name):
                waiting[snapshot.name] = self._over
        return waiting

    def _shorten(self, stretch: Stretch, allowance: "_Allowance", waiting: dict[str, str]) -> None:
        reason = ""
        for bundle in reversed(stretch.bundles):
            if bundle in self._promise.bundles:
                reason = _NEEDED
            elif not reason and not allowance.take(bundle.name):
                reason = self._over
            if reason and bundle not in self._promise.bundles:
                waiting[bundle.name] = reason

    def _needed_by(self, stretch: Stretch, snapshot: Snapshot, waiting: dict[str, str]) -> str:
        """Why the snapshot is needed behind itself. What reaches over it and is promised begins before it."""
        for bundle in stretch.bundles:
            if bundle.name in waiting:
                return waiting[bundle.name]
            if bundle in self._promise.bundles and bundle.first_seq > snapshot.seq:
                return _NEEDED
        return ""

    def _snapshot(self, s: Snapshot, waiting: dict[str, str]) -> Verdict:
        reason = ", ".join(self._promise.snapshots.get(s, ())) or waiting.get(s.name)
        return _verdict(
            Kind.SNAPSHOT, s.seq, s, s.captured_ms, reason or "no rule keeps it", keep=reason is not None
        )

    def _bundle(self, b: Bundle, waiting: dict[str, str]) -> Verdict:
        reason = self._promise.bundles.get(b) or waiting.get(b.name)
        return _verdict(
            Kind.BUNDLE, b.first_seq, b, b.stored_ms, reason or "before pitr", keep=reason is not None
        )

    def _pack(self, pack: Pack, needed: set[tuple[str, bytes]], goes: set[tuple[str, bytes]]) -> Verdict:
        which = (pack.generation, pack.pack_id)
        keep = True
        if which in needed:
            reason = "a snapshot that stays needs it"
        elif is_future(pack.generation, self._now_ms, pack.stored_ms):
            reason = FUTURE
        elif pack.generation in self._unreadable:
            reason = _UNREADABLE
        elif which in goes:
            reason, keep = "only snapshots that go need it", False
        elif pack.generation in self._leased:
            reason = _BEING_TAKEN
        elif self._young(pack.stored_ms):
            reason = f"younger than the grace: {_BEING_TAKEN}"
        else:
            reason, keep = "no snapshot needs it", False
        return _verdict(Kind.PACK, None, pack, pack.stored_ms, reason, keep=keep)

    def _epoch(self, epoch: Epoch, occupied: set[str]) -> Verdict:
        keep = True
        if epoch.generation in occupied:
            kept_for = self._epoch_in_use(epoch)
            reason, keep = kept_for or UNUSED_EPOCH, bool(kept_for)
        elif is_future(epoch.generation, self._now_ms, epoch.stored_ms):
            reason = FUTURE
        elif epoch.generation in self._leased or self._young(
            max(epoch.stored_ms, generation_ms(epoch.generation))
        ):
            reason = "younger than the grace: its generation may just begin"
        else:
            reason, keep = "nothing of its generation stays", False
        return _verdict(Kind.EPOCH, epoch.number, epoch, epoch.stored_ms, reason, keep=keep)

    def _epoch_in_use(self, epoch: Epoch) -> str:
        """Why it stays in a generation that stays; empty where it need not."""
        generation, replaced = epoch.generation, self._replaced_ms.get(epoch)
        if replaced is None:
            return "the newest of its generation"
        used = self._needs.get(generation, _UNKNOWN)
        reasons = {
            "a snapshot that is there needs it": epoch.number in used.named,
            "deltas that are there or to come need it": used.has(epoch.number),
            FUTURE: is_future(generation, self._now_ms, epoch.stored_ms, replaced),
            _UNREADABLE: generation in self._unreadable,
            _BEING_TAKEN: generation in self._taking,
            "younger than the grace: deltas that name it may come": self._young(replaced),
        }
        return next((reason for reason, applies in reasons.items() if applies), "")

    def _young(self, stored_ms: int) -> bool:
        return self._now_ms < stored_ms + self._grace_ms


class _Allowance:
    """How many objects of a kind may go that are not tombstoned yet: a share of `count`, at least one."""

    def __init__(self, share: float, count: int, tombstoned: Collection[str]) -> None:
        self._left = max(1, int(share * count))
        self._tombstoned = tombstoned

    def take(self, name: str) -> bool:
        """Whether it may go; then it counts."""
        if name in self._tombstoned:
            return True
        self._left -= 1
        return self._left >= 0


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
