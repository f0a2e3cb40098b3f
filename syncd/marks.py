"""Holds, leases and tombstones in a store: read, put and taken away.

- A hold is signed and stays until it is released or expires. A lease is put by whoever reads or builds on
  objects, renewed well before it ends, and taken away afterwards; after a crash it ends by itself.
- A lease counts from the time at which the store received it, so that the clock of the host that restores
  does not matter, and for a day at most, so that a forged one does not matter long.
- Who may not write gets no protection, and can go on without it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from ulid import ULID

from syncd.archive import read_hold, read_lease, read_tombstone, seal_hold
from syncd.clock import Clock
from syncd.envelope.keys import SigningKey, VerifyKey
from syncd.errors import (
    ArchiveError,
    FormatVersionError,
    ObjectNotFound,
    ObjectUnread,
    StoreError,
    StoreRefused,
    StoreUnfit,
)
from syncd.format.marks import Mark, Purpose, Range, Tombstone, encode_mark
from syncd.format.names import HEARTBEATS, HOLDS, LEASES, TOMBSTONES, hold_name, lease_name, parse_mark
from syncd.store.base import ObjectInfo, Store

LEASE_MS: Final = 24 * 3_600_000
_RENEW_SECONDS: Final = 8 * 3600.0
_LOOK_SECONDS: Final = 60.0
_PARTING_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Buried:
    """A tombstone as it lies in the store; `stored_ms` is the store's time."""

    name: str
    stored_ms: int
    tombstone: Tombstone


@dataclass(frozen=True, slots=True)
class Damaged:
    """A mark that cannot be read."""

    name: str
    stored_ms: int
    error: ArchiveError


@dataclass(frozen=True, slots=True)
class Marks:
    """Every mark of one archive. The times of `leases` are corrected: see the module."""

    holds: tuple[Mark, ...] = ()
    leases: tuple[Mark, ...] = ()
    tombstones: tuple[Buried, ...] = ()
    damaged: tuple[Damaged, ...] = ()


@dataclass(slots=True)
class Protection:
    """Whether a lease is in the store, and under which name at first; `refusal` says why not."""

    name: str = ""
    refusal: StoreError | None = None

    @property
    def held(self) -> bool:
        """Whether what was asked for is protected."""
        return self.refusal is None


async def read_marks(store: Store, database: str, verify_key: VerifyKey) -> Marks:
    """Read all of them. Raises StoreError; a mark that is damaged is told in the result."""
    damaged: list[Damaged] = []
    holds: list[Mark] = []
    leases: list[Mark] = []
    tombstones: list[Buried] = []
    async for info, raw in _objects(store, HOLDS):
        try:
            mark_id = parse_mark(info.name)
            holds.append(read_hold(raw, mark_id=mark_id, database=database, verify_key=verify_key))
        except ArchiveError as e:
            damaged.append(Damaged(info.name, info.modified_ms, e))
    async for info, raw in _objects(store, LEASES):
        try:
            mark = read_lease(raw, mark_id=parse_mark(info.name), database=database)
            leases.append(_by_the_stores_clock(mark, info.modified_ms))
        except ArchiveError as e:
            damaged.append(Damaged(info.name, info.modified_ms, e))
    async for info, raw in _objects(store, TOMBSTONES):
        try:
            tombstone = read_tombstone(raw, mark_id=parse_mark(info.name))
            tombstones.append(Buried(info.name, info.modified_ms, tombstone))
        except ArchiveError as e:
            damaged.append(Damaged(info.name, info.modified_ms, e))
    return Marks(tuple(holds), tuple(leases), tuple(tombstones), tuple(damaged))


async def tombstoned_names(store: Store) -> frozenset[str]:
    """Names of all objects that are about to go: nothing new may come to need them.

    A damaged tombstone counts for nothing, as it does for who prunes. Raises StoreError, and
    FormatVersionError where a newer syncd wrote one.
    """
    names: set[str] = set()
    async for info, raw in _objects(store, TOMBSTONES):
        try:
            names.update(read_tombstone(raw, mark_id=parse_mark(info.name)).names)
        except FormatVersionError:
            raise
        except ArchiveError:
            continue
    return frozenset(names)


async def put_hold(
    store: Store,
    clock: Clock,
    signing_key: SigningKey,
    *,
    database: str,
    until_ms: int,
    reason: str,
    ranges: Sequence[Range],
    mark_id: str | None = None,
) -> Mark:
    """Put a hold. Raises StoreError, and ValueError for what cannot be a hold."""
    now_ms = clock.now_ms()
    hold = Mark(
        database, mark_id or new_mark_id(now_ms), Purpose.HOLD, now_ms, until_ms, reason, tuple(ranges)
    )
    await store.put(hold_name(hold.mark_id), seal_hold(signing_key, hold))
    return hold


@asynccontextmanager
async def lease(
    store: Store, clock: Clock, database: str, purpose: Purpose, ranges: Sequence[Range]
) -> AsyncIterator[Protection]:
    """Protect `ranges` while the body runs. Where the store refuses, the body runs without protection.

    Raises StoreError before the body where the store cannot be asked at all, never after it.
    """
    holder = _Holder(store, clock, database, purpose, tuple(ranges))
    protection = Protection()
    renewal: asyncio.Task[None] | None = None
    try:
        try:
            protection.name = await holder.put()
            renewal = asyncio.create_task(holder.renew())
        except (StoreRefused, StoreUnfit) as e:
            protection.refusal = e
        yield protection
    finally:
        if renewal is not None:
            renewal.cancel()
            await asyncio.wait([renewal])
        if protection.held:
            # Whoever ends does not wait for a store that hangs: a lease ends by itself.
            with suppress(TimeoutError):
                async with asyncio.timeout(_PARTING_SECONDS):
                    await holder.take_away()


class _Holder:
    """Whoever has a lease. There may be two for a moment, never none."""

    def __init__(
        self, store: Store, clock: Clock, database: str, purpose: Purpose, ranges: tuple[Range, ...]
    ) -> None:
        self._store, self._clock = store, clock
        self._database, self._purpose, self._ranges = database, purpose, ranges
        self._names: list[str] = []

    async def put(self) -> str:
        now_ms = self._clock.now_ms()
        mark_id = new_mark_id(now_ms)
        mark = Mark(self._database, mark_id, self._purpose, now_ms, now_ms + LEASE_MS, "", self._ranges)
        self._names.append(lease_name(mark_id))
        with suppress(ObjectUnread):  # nobody else has this id: it is ours, from a put whose answer was lost
            await self._store.put(lease_name(mark_id), encode_mark(mark))
        return lease_name(mark_id)

    async def renew(self) -> None:
        due = self._clock.monotonic() + _RENEW_SECONDS
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._clock.monotonic() < due:
                continue
            with suppress(StoreError):  # there is time for many more tries
                await self.put()
                due = self._clock.monotonic() + _RENEW_SECONDS
                while len(self._names) > 1:
                    await self._store.delete(self._names[0])
                    del self._names[0]

    async def take_away(self) -> None:
        for name in self._names:
            with suppress(StoreError):  # it ends by itself
                await self._store.delete(name)


def new_mark_id(now_ms: int) -> str:
    """An id for a mark that is made now."""
    return str(ULID.from_timestamp(now_ms / 1000))


async def drop_heartbeats(store: Store) -> None:
    """Delete all heartbeats but the newest two, which say all that the others do. Raises StoreError."""
    names = [info.name async for info in store.objects(HEARTBEATS)]
    for name in names[:-2]:
        await store.delete(name)


def _by_the_stores_clock(lease: Mark, stored_ms: int) -> Mark:
    """How long is the holder's word, since when is the store's."""
    length = min(LEASE_MS, lease.until_ms - lease.created_ms)
    return replace(lease, created_ms=stored_ms, until_ms=stored_ms + length)


async def _objects(store: Store, prefix: str) -> AsyncIterator[tuple[ObjectInfo, bytes]]:
    """What is there, each with its bytes; what goes away meanwhile is left out."""
    async for info in store.objects(prefix):
        try:
            raw = await store.get(info.name)
        except ObjectNotFound:
            continue
        yield info, raw
