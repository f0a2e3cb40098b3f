"""Prune: what retention lets go is tombstoned, and deleted after the grace.

- Nothing goes before a tombstone that is older than the grace names it, and the decision of now still lets
  it go. So a hold that comes meanwhile is enough to keep it.
- Of each stretch bundles go from its end, then its manifest; packs after another look that no manifest which
  is there needs them; epochs when nothing that is there needs them, so after what did. So a run may end
  between any two calls: what is left is whole, each snapshot with an unbroken run of deltas, or garbage
  that the next run finds.
- A clock that disagrees with the store's, a hold that cannot be read, or a lease that may still count and
  cannot be read stops the run before anything is written.
- A dry run writes nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from syncd.ahead import each
from syncd.clock import Clock
from syncd.envelope.keys import SigningKey, VerifyKey
from syncd.errors import ClockError, FormatVersionError, NoRestorePoint, StoreError, SyncdError
from syncd.format.marks import Mark, Purpose, encode_tombstone, tombstone_of
from syncd.format.names import (
    HOLDS,
    LEASES,
    TOMBSTONES,
    generation_dir,
    is_object,
    parse_pack_id,
    tombstone_name,
)
from syncd.inventory import read_bundles, read_inventory, read_snapshots
from syncd.log import Event, Log
from syncd.marks import (
    LEASE_MS,
    Buried,
    Marks,
    Protection,
    drop_heartbeats,
    lease,
    new_mark_id,
    put_hold,
    read_marks,
)
from syncd.model import format_time
from syncd.policy.epochs import to_read
from syncd.policy.inventory import SKEW_MS, Bundle, Inventory, Kind, Snapshot
from syncd.policy.ranges import ranges_of
from syncd.policy.retention import Retention, unsure
from syncd.policy.stretches import Stretch, open_ended, stretches
from syncd.policy.verdicts import UNUSED_EPOCH, Verdict, decide
from syncd.store.base import Store

_NAMES_PER_TOMBSTONE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found and did.

    `verdicts` are those of before; `due_ms` says from when on a name that is to go may be deleted.
    `gone` has what was deleted; `notes` are for whoever reads the table.
    """

    verdicts: tuple[Verdict, ...]
    due_ms: Mapping[str, int] = field(default_factory=dict)
    tombstoned: int = 0
    gone: frozenset[str] = frozenset()
    removed_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def removed(self) -> int:
        """How many objects were deleted."""
        return len(self.gone)

    @property
    def kept(self) -> int:
        """How many objects stay, marks not counted."""
        return sum(v.keep for v in self.verdicts if v.generation)


async def prune(
    store: Store,
    *,
    database: str,
    retention: Retention,
    grace_ms: int,
    clock: Clock,
    log: Log,
    verify_key: VerifyKey,
    dry_run: bool,
) -> Report:
    """One run over one archive. Raises StoreError, ClockError, ArchiveError; then it can be repeated."""
    run = _Prune(store, database, retention, grace_ms, clock, verify_key)
    started = clock.monotonic()
    log(Event.PRUNE_STARTED, dry_run=dry_run)
    try:
        if dry_run:
            report = await run.look()
        else:
            before_ms = clock.now_ms()
            async with lease(store, clock, database, Purpose.PRUNE, ()) as protection:
                await check_clock(store, protection, before_ms, clock)
                report = await run.work()
                await drop_heartbeats(store)
    except SyncdError as e:
        log(Event.PRUNE_STOPPED, error=str(e))
        raise
    log(
        Event.PRUNE_FINISHED,
        dry_run=dry_run,
        tombstoned=report.tombstoned,
        removed=report.removed,
        bytes=report.removed_bytes,
        kept=report.kept,
        duration_ms=round((clock.monotonic() - started) * 1000),
    )
    return report


async def undelete(
    store: Store,
    *,
    database: str,
    clock: Clock,
    signing_key: SigningKey,
    until_ms: int,
    reason: str = "undeleted",
) -> tuple[Mark, int]:
    """Hold what is tombstoned and is still there; the hold, and how many objects it was.

    Raises StoreError, ArchiveError, and NoRestorePoint where nothing is tombstoned.
    """
    verify_key = signing_key.verify_key
    inventory = await read_inventory(store, database=database, verify_key=verify_key)
    marks = await read_marks(store, database, verify_key)
    there = {o.name for o in inventory.objects} & _names(marks.tombstones)
    ends = [b for b in open_ended(inventory) if b.name in there]
    inventory = await read_bundles(store, inventory, ends, database=database, verify_key=verify_key)
    ranges = ranges_of(inventory, there)
    if not ranges:
        raise NoRestorePoint(
            f"{store.url}: nothing is tombstoned", hint="what the grace has ended for is gone"
        )
    hold = await put_hold(
        store, clock, signing_key, database=database, until_ms=until_ms, reason=reason, ranges=ranges
    )
    for buried in marks.tombstones:
        await store.delete(buried.name)
    return hold, len(there)


async def check_clock(store: Store, protection: Protection, before_ms: int, clock: Clock) -> None:
    """Compare the clocks by the time that the store gave to our lease, put after `before_ms` (of this host).

    Raises ClockError, StoreError.
    """
    if protection.refusal is not None:
        raise protection.refusal
    stored = [info.modified_ms async for info in store.objects(LEASES) if info.name == protection.name]
    if not stored:
        raise StoreError(f"{store.url} does not list an object that was just created")
    apart_ms = max(before_ms - stored[0], stored[0] - clock.now_ms())
    if apart_ms > SKEW_MS:
        raise ClockError(
            f"{store.url}: its clock and that of this host are {apart_ms // 60_000} minutes apart",
            hint=f"the store says {format_time(stored[0])}; correct the clock, nothing was removed",
        )


class _Prune:
    """One run. `look` decides; `work` decides and does it."""

    def __init__(
        self,
        store: Store,
        database: str,
        retention: Retention,
        grace_ms: int,
        clock: Clock,
        verify_key: VerifyKey,
    ) -> None:
        self._store, self._database, self._verify_key = store, database, verify_key
        self._retention, self._grace_ms, self._clock = retention, grace_ms, clock
        self._gone: set[str] = set()

    async def look(self) -> Report:
        _, marks, verdicts = await self._decide()
        return Report(verdicts, self._due(marks), notes=self._notes(verdicts))

    async def work(self) -> Report:
        # Marks are read after everything else: one that comes earlier counts.
        inventory, marks, verdicts = await self._decide()
        due_ms = self._due(marks)
        now_ms = self._clock.now_ms()
        going = [v for v in verdicts if not v.keep]
        ripe = [v for v in going if v.generation and due_ms.get(v.name, now_ms + 1) <= now_ms]
        await self._delete(inventory, verdicts, ripe)
        await self._tidy(marks, verdicts)
        new = [v.name for v in going if v.generation and v.name not in inventory.tombstoned]
        await self._bury(new)
        return Report(
            verdicts,
            due_ms | dict.fromkeys(new, now_ms + self._grace_ms),
            tombstoned=len(new),
            gone=frozenset(self._gone),
            removed_bytes=sum(v.size for v in ripe if v.name in self._gone),
            notes=self._notes(verdicts),
        )

    async def _decide(self) -> tuple[Inventory, Marks, tuple[Verdict, ...]]:
        store, database, verify_key = self._store, self._database, self._verify_key
        inventory = await read_inventory(store, database=database, verify_key=verify_key)
        for _ in range(4):  # where bundles end tells which ones tell of epochs
            telling = await asyncio.to_thread(self._to_read, inventory)
            inventory = await read_bundles(
                store, inventory, telling, database=database, verify_key=verify_key
            )
        marks = await read_marks(self._store, self._database, self._verify_key)
        self._check_marks(marks)
        counting = [m for m in marks.leases if m.purpose is not Purpose.PRUNE or not self._active(m)]
        inventory = replace(
            inventory,
            marks=(*marks.holds, *counting),
            tombstoned=_names(t for t in marks.tombstones if not self._is_future(t)),
        )
        # A week of deltas every five seconds is more than 100,000 objects: a second of work.
        verdicts = await asyncio.to_thread(
            decide, inventory, self._retention, now_ms=self._clock.now_ms(), grace_ms=self._grace_ms
        )
        return inventory, marks, tuple(verdicts)

    def _to_read(self, inventory: Inventory) -> list[Bundle]:
        now_ms = self._clock.now_ms()
        ends = unsure(inventory, self._retention, now_ms)
        return list(dict.fromkeys([*ends, *to_read(inventory, now_ms=now_ms, grace_ms=self._grace_ms)]))

    def _check_marks(self, marks: Marks) -> None:
        young_ms = self._clock.now_ms() - LEASE_MS
        for damaged in marks.damaged:
            if damaged.name.startswith(HOLDS) or (
                damaged.name.startswith(LEASES) and damaged.stored_ms > young_ms
            ):
                raise type(damaged.error)(
                    f"nothing is removed, since nobody knows what this keeps: {damaged.error.message}",
                    hint=damaged.error.hint or "find out what it is; a copy from another target may help",
                )

    def _due(self, marks: Marks) -> dict[str, int]:
        due: dict[str, int] = {}
        for buried in marks.tombstones:
            if not self._is_future(buried):
                ms = max(buried.stored_ms, buried.tombstone.created_ms) + self._grace_ms
                for name in buried.tombstone.names:
                    due[name] = min(ms, due.get(name, ms))
        return due

    async def _delete(
        self, inventory: Inventory, verdicts: Iterable[Verdict], ripe: Iterable[Verdict]
    ) -> None:
        by_kind: dict[Kind, list[Verdict]] = {kind: [] for kind in Kind}
        for verdict in ripe:
            by_kind[verdict.kind].append(verdict)
        fate = {v.name: v for v in verdicts}
        due = {v.name for kind in (Kind.SNAPSHOT, Kind.BUNDLE) for v in by_kind[kind]}

        async def shorten(stretch: Stretch) -> None:
            order: list[Bundle | Snapshot] = list(reversed(stretch.bundles))
            if stretch.snapshot is not None:
                order.append(stretch.snapshot)
            for one in order:
                if one.name in due:
                    await self._remove(fate[one.name])
                elif not fate[one.name].keep:
                    return  # its grace is not over: what is in front of it has to wait

        await each(stretches(inventory), shorten)
        await each(await self._unneeded(by_kind[Kind.PACK]), self._remove)
        await each(await self._last(by_kind[Kind.EPOCH]), self._remove)

    async def _remove(self, verdict: Verdict) -> None:
        await self._store.delete(verdict.name)
        self._gone.add(verdict.name)

    async def _unneeded(self, packs: list[Verdict]) -> list[Verdict]:
        """Those that no manifest which is there by now needs, or could need."""
        unneeded: list[Verdict] = []
        for generation in sorted({v.generation for v in packs}):
            found = await read_snapshots(
                self._store, generation, database=self._database, verify_key=self._verify_key
            )
            if not found.unreadable:
                needed = {pack_id for s in found.snapshots for pack_id in s.packs}
                mine = (v for v in packs if v.generation == generation)
                unneeded += [v for v in mine if parse_pack_id(v.name) not in needed]
        return unneeded

    async def _last(self, epochs: list[Verdict]) -> list[Verdict]:
        """Those whose generation has nothing but epochs by now, and those that no manifest names by now."""
        last: list[Verdict] = []
        for generation in sorted({v.generation for v in epochs}):
            mine = [v for v in epochs if v.generation == generation]
            listed = [info.name async for info in self._store.objects(generation_dir(generation))]
            if all("/epochs/" in name for name in listed if is_object(name)):
                last += mine
                continue
            found = await read_snapshots(
                self._store, generation, database=self._database, verify_key=self._verify_key
            )
            named = {number for s in found.snapshots for number in s.epochs}
            if not found.unreadable:
                last += [v for v in mine if v.reason == UNUSED_EPOCH and v.number not in named]
        return last

    async def _bury(self, names: list[str]) -> None:
        for start in range(0, len(names), _NAMES_PER_TOMBSTONE):
            now_ms = self._clock.now_ms()
            tombstone = tombstone_of(now_ms, names[start : start + _NAMES_PER_TOMBSTONE])
            await self._store.put(tombstone_name(new_mark_id(now_ms)), encode_tombstone(tombstone))

    async def _tidy(self, marks: Marks, verdicts: Iterable[Verdict]) -> None:
        """Take away marks that mean nothing any more."""
        going = {v.name for v in verdicts if not v.keep} - self._gone
        over = [v.name for v in verdicts if not v.keep and not v.generation]
        over += [t.name for t in marks.tombstones if self._is_future(t) or not going & set(t.tombstone.names)]
        over += [
            d.name
            for d in marks.damaged
            if d.name.startswith((LEASES, TOMBSTONES)) and not isinstance(d.error, FormatVersionError)
        ]
        await each(over, self._store.delete)

    def _notes(self, verdicts: Iterable[Verdict]) -> tuple[str, ...]:
        late_ms = self._clock.now_ms() + SKEW_MS
        future = [v for v in verdicts if v.generation and v.dated_ms > late_ms]
        if not future:
            return ()
        first = f"the first {future[0].name} at {format_time(future[0].dated_ms)}"
        return (f"dated in the future: {len(future)}, {first}; what is so neither counts nor goes",)

    def _active(self, mark: Mark) -> bool:
        return self._clock.now_ms() < mark.until_ms

    def _is_future(self, buried: Buried) -> bool:
        return max(buried.stored_ms, buried.tombstone.created_ms) > self._clock.now_ms() + SKEW_MS


def _names(tombstones: Iterable[Buried]) -> frozenset[str]:
    return frozenset(name for each_of in tombstones for name in each_of.tombstone.names)
