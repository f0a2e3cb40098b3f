"""From the outbox to one target, in order, each target at its own pace.

- A target begins with a snapshot of what the shadow holds then; deltas follow from there.
- Everything is created under a name that can only be created once. An object that is there already is
  read back: ours, from a shipment whose answer was lost, or another daemon's, which is a conflict.
- All the consecutive deltas that wait go into one object (bounded): a slow link gets fewer, larger ones.
- At its start, after a failure, at every snapshot and once an hour it looks whether what was acknowledged is
  still there, see `lookback`.
- A call without an answer is told after some seconds, long before its deadline.
- What a retry can help is retried with a growing delay, visible in `status`; the rest parks the target.
  No target holds another back.
- Nothing is written to a target that another daemon claimed. One that was taken over is parked: where our
  next bundle belongs is a closing.
- Another daemon's object ends the generation: both histories stay, each under its own.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from syncd.beats import Beats
from syncd.claims import Standing, place_of
from syncd.errors import ArchiveClaimed, ConflictError, StateError, StoreError, SyncdError
from syncd.format.head import Head
from syncd.format.names import deltas_name
from syncd.log import Event
from syncd.lookback import LookBack
from syncd.replica import Replica
from syncd.shipment import put_deltas
from syncd.snapshot import Snapshot, ship_epochs, take_snapshot
from syncd.state import CLAIMED, CONFLICT, Outgoing, Stored
from syncd.store.base import Store
from syncd.store.probe import probe
from syncd.store.wrap import WatchedStore
from syncd.takeover import Taken, complete, take_over

_BUNDLE_BYTES: Final = 4 << 20
_LONGEST_DELAY: Final = 60.0
_SLOW_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 3600.0
# A database that is smaller counts as that large when a snapshot is considered for the deltas' size.
_SMALLEST_SIZE: Final = 8 << 20


class Shipper:
    """Ships one replica to one target.

    Args:
        replica: what to ship.
        target: the target's name.
        store: the database's part of the target.
        delta_share: `snapshot_due` is set when deltas since the last snapshot exceed this share of the
            database's size; 0 is never.
        heartbeat: seconds without a shipment after which a heartbeat is stored; 0 is never.
        listing: the same as `store`, for a role that may list: to look back, and to take it over.
    """

    def __init__(
        self,
        replica: Replica,
        target: str,
        store: Store,
        *,
        delta_share: float = 0,
        heartbeat: float = 0,
        listing: Store | None = None,
    ) -> None:
        self._replica = replica
        self._target = target
        self.store: Store = WatchedStore(store, self._note_slow, _SLOW_SECONDS)
        self._listing = (
            self.store if listing is None else WatchedStore(listing, self._note_slow, _SLOW_SECONDS)
        )
        self._standing = Standing(
            self.store,
            target,
            state=replica.state,
            database=replica.name,
            signing_key=replica.sealing.signing_key,
            clock=replica.clock,
            log=replica.log,
            place=place_of(replica.shadow.path.parent),
            complete=partial(complete, replica, target, self.store, self._listing),
        )
        self._taken_over = asyncio.Event()
        self._probed = False
        self._lookback = LookBack(replica, target, self._listing)
        self._look_at = 0.0
        self._failed = False
        self._delta_share = delta_share
        self._heartbeat = heartbeat
        self._beats = Beats(replica, target, self.store, self._standing)
        self.snapshot_due = asyncio.Event()
        self._snapshotting = asyncio.Lock()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        replica.wakes += [self._wake, self._changed]

    async def run(self) -> None:
        """Ship until cancelled, or until a failure that no retry can help.

        Raises ConflictError, noted in the state: whoever opens the replica again begins a new generation.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda e: isinstance(e, SyncdError) and e.retryable),
            wait=wait_random_exponential(multiplier=0.5, max=_LONGEST_DELAY),
            sleep=self._replica.clock.sleep,
            before_sleep=self._note_failure,
            reraise=True,
        )
        try:
            while True:
                await retrying(self.ship)
                while not await self._woken():
                    await retrying(self.beat)
                    await self._note_recovery()
        except StoreError as e:
            await self._park("refused", e, Event.TARGET_REFUSED)
        except ArchiveClaimed as e:
            await self._park(CLAIMED, e, Event.TARGET_CONFLICTED)
            await self._taken_over.wait()
            raise
        except ConflictError as e:
            if not self._taken_over.is_set():
                await self._park(CONFLICT, e, Event.TARGET_CONFLICTED)
            raise

    async def _woken(self) -> bool:
        """Wait until something is to be shipped; False where a heartbeat is due before that."""
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(self._wake.wait())]
        if self._heartbeat:
            waits.append(asyncio.ensure_future(self._replica.clock.sleep(self._heartbeat)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[0].done()
        finally:
            for wait in waits:
                wait.cancel()

    async def beat(self) -> None:
        """Store a heartbeat, unless something waits. Raises StoreError, ArchiveClaimed."""
        await self._beats.beat()

    async def ship(self) -> None:
        """Ship everything that waits. Raises StoreError, ConflictError."""
        self._wake.clear()
        if not self._probed:
            await probe(self.store)
            self._probed = True
        self._check_taken()
        await self._look_back()
        while await self._step():
            pass
        target = await self._replica.state.target(self._target)
        self._consider_snapshot(target.delta_bytes)
        await self._note_recovery()
        if target.stored is not None:
            self._replica.stored.set()

    async def take_over(self) -> Taken:
        """End what other daemons claimed; then `run` ends too, since a new generation has to begin.

        Raises StoreError, ArchiveClaimed.
        """
        taken = await take_over(self._replica, self._target, self.store, self._standing, self._listing)
        self._taken_over.set()
        self._wake.set()
        return taken

    def _check_taken(self) -> None:
        """Raises ConflictError where a new generation is to begin."""
        if self._taken_over.is_set():
            raise ConflictError(f"{self.store.url} was taken over: a new generation begins")

    async def _look_back(self) -> None:
        """Where it is time, and there is something to look at. Raises StoreError."""
        now = self._replica.clock.monotonic()
        if now >= self._look_at:
            if await self._lookback.look():
                self.snapshot_due.set()
            self._look_at = now + _LOOK_SECONDS if self._replica.chain is not None else 0.0

    def _consider_snapshot(self, delta_bytes: int) -> None:
        chain = self._replica.chain
        if chain is not None and self._delta_share:
            size = max(chain.page_count * chain.page_size, _SMALLEST_SIZE)
            if delta_bytes > self._delta_share * size:
                self.snapshot_due.set()

    async def _step(self) -> bool:
        """One shipment; False where nothing waits."""
        replica, chain = self._replica, self._replica.chain
        if chain is None:
            return False
        await self._standing.secure(chain.generation)
        target = await replica.state.target(self._target)
        cursor = target.cursor
        if cursor is None or target.snapshot is None or await replica.state.has_gap(cursor):
            return await self._first_snapshot(target.given_up)
        waiting = await replica.state.outgoing(cursor, _BUNDLE_BYTES)
        if not waiting:
            return False
        if waiting[0].sealed.seq != cursor + 1:  # the outbox was trimmed a moment ago
            return await self._first_snapshot(chain.seq - cursor)
        await ship_epochs(replica, self._target, self.store, chain.generation, self._standing)
        await self._ship_deltas(chain.generation, waiting)
        return True

    async def snapshot(self, reason: str, *, whole: bool = False) -> Snapshot | None:
        """Take a snapshot now, if one would hold anything new. Raises StoreError, ConflictError.

        None where there is nothing new, or where the target's first one is still to come. A `whole` one
        makes no use of what is stored: for a target on which packs were found damaged, or for recipients
        that came later. It has a position of its own even where nothing is new.
        """
        self._check_taken()
        if self._replica.chain is not None:
            await self._standing.secure(self._replica.chain.generation)
        await self._lookback.look()
        async with self._snapshotting:
            if whole:
                await self._replica.state.snapshots.forget(self._target)
                await self._replica.touch()
            while True:
                self._changed.clear()
                chain = self._replica.chain
                target = await self._replica.state.target(self._target)
                if target.snapshot is None:
                    self._wake.set()  # `ship` takes the first one
                if chain is None or target.snapshot in {None, chain.seq}:
                    return None
                taken = await take_snapshot(
                    self._replica, self._target, self.store, self._standing, first=False, reason=reason
                )
                if taken is not None:
                    self.snapshot_due.clear()
                    return taken
                await self._changed.wait()  # in the middle of a large batch

    async def _first_snapshot(self, given_up: int) -> bool:
        """Begin with the whole database, or lead over deltas that were given up.

        False where the shadow is not at a boundary just now.
        """
        reason = f"{given_up} deltas were given up" if given_up else "the target begins"
        async with self._snapshotting:
            taken = await take_snapshot(
                self._replica,
                self._target,
                self.store,
                self._standing,
                first=True,
                reason=reason,
            )
            return taken is not None

    async def _ship_deltas(self, generation: str, waiting: Sequence[Outgoing]) -> None:
        replica = self._replica
        started = replica.clock.monotonic()
        first = waiting[0].sealed.seq
        waiting, raw = await put_deltas(replica, self.store, self._standing, generation, waiting)
        now_ms = replica.clock.now_ms()
        head = Head.of(generation, waiting[-1].sealed.seq, raw)
        self._lookback.acknowledged(generation, first)
        await replica.state.stored(
            self._target, waiting, now_ms, Stored(deltas_name(generation, first), head)
        )
        if replica.chain is not None and head.seq == replica.chain.seq:
            replica.arrived()
        replica.log(
            Event.DELTAS_STORED,
            target=self._target,
            first_seq=first,
            last_seq=waiting[-1].sealed.seq,
            bytes=len(raw),
            lag_ms=max(0, now_ms - waiting[0].first_ms),
            duration_ms=round((replica.clock.monotonic() - started) * 1000),
        )

    async def note_error(self, error: SyncdError) -> None:
        """Keep the last error for `status`; and a conflict for the next start."""
        state = "failing"
        if isinstance(error, ConflictError):
            state = CLAIMED if isinstance(error, ArchiveClaimed) else CONFLICT
        await self._replica.state.set_target(self._target, state, str(error), self._replica.clock.now_ms())

    async def _note_slow(self, call: str, seconds: float) -> None:
        """A call has no answer yet: tell so at once, and when it is over let `ship` see how things are."""
        replica = self._replica
        self._failed = True
        replica.log(Event.TARGET_SLOW, target=self._target, call=call, waited_ms=round(seconds * 1000))
        sentence = f"{self.store.url}: {call}: no answer for {seconds:.0f} s so far"
        with contextlib.suppress(StateError):
            await replica.state.set_target(self._target, "slow", sentence, replica.clock.now_ms())
        try:
            await asyncio.Event().wait()
        finally:
            self._wake.set()

    async def _note_recovery(self) -> None:
        """Nothing waits, and nothing failed; what did, perhaps under an earlier process, is over."""
        target = await self._replica.state.target(self._target)
        if target.stored is not None and target.state != "ok":
            await self._replica.state.set_target(self._target, "ok")
        if self._failed:
            self._failed = False
            self._replica.log(Event.TARGET_RECOVERED, target=self._target)

    async def _note_failure(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        delay = attempt.next_action.sleep if attempt.next_action else 0.0
        self._failed = True
        self._look_at = 0.0  # it may come back as another, or as it was
        self._replica.log(
            Event.TARGET_FAILED,
            target=self._target,
            error=str(error),
            attempt=attempt.attempt_number,
            retry_ms=round(delay * 1000),
        )
        if isinstance(error, SyncdError):
            await self.note_error(error)

    async def _park(self, state: str, error: SyncdError, event: Event) -> None:
        self._replica.log(event, target=self._target, error=str(error))
        await self._replica.state.set_target(self._target, state, str(error), self._replica.clock.now_ms())
