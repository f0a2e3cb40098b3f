"""From the application's files to sealed deltas in the outbox.

- A batch closes `max_delay` after the one before, or when it holds `max_bytes`; the first one after a
  silence closes a tenth of `max_delay` after its first change: alone, but with what belongs to it.
- It closes earlier by what the way to a target took lately: `max_delay` is until a change is stored.
- A delta is acknowledged in one transaction (sealed bytes, place in the chain, redo images); only then
  is the shadow written.
- What is larger than one piece goes out as several deltas, of which only the last is a boundary.
- The first copy makes no deltas, and waits for nothing: it fills the shadow, and a generation begins.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from syncd.change import Change, apply_change, build_change, copy_piece, seal_change
from syncd.clock import to_completion
from syncd.errors import SourceError
from syncd.log import Event
from syncd.model import Digest
from syncd.replica import Replica, new_generation, shadow_digest
from syncd.source.capture import Capture, Progress
from syncd.source.pending import Piece
from syncd.source.position import format_position, parse_position
from syncd.source.watch import Watcher
from syncd.state import Chain, Outgoing

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_PIECE_BYTES: Final = 8 << 20
_REDO_BYTES: Final = 64 << 20
# Each look and each glance wakes a process that sleeps otherwise, which costs more than what it does: twice
# and four times as many are half of all CPU beside 200 messages a second.
_ACTIVE_SECONDS: Final = 0.05
_CALM_SECONDS: Final = 0.4
_UNSETTLED_SECONDS: Final = 0.002
_QUIET_AFTER: Final = 1.0
_TEND_SECONDS: Final = 1.0
_LONGEST_WAIT: Final = 30.0
_TOGETHER: Final = 0.1  # of max_delay: what is committed so soon after a first change belongs to it
_LONGEST_LEAD: Final = 0.25  # of max_delay: a slow target must not make batches small
_PATIENCE: Final = 20  # looks in a row that found no quiet moment, before it is worth telling


class Replicator:
    """Keeps one replica's chain up with the application.

    Args:
        replica: the database's state and shadow.
        path: the application's database.
        max_delay: seconds between batches, and until a change is stored where a target is near.
        max_bytes: bytes of page images that end a batch.
        poll_interval: seconds; the net under the watcher.
    """

    def __init__(
        self, replica: Replica, path: Path, *, max_delay: float, max_bytes: int, poll_interval: float
    ) -> None:
        self._replica = replica
        self._path = path
        self._max_delay = max_delay
        self._poll_interval = poll_interval
        self._calm = max(_ACTIVE_SECONDS, min(_CALM_SECONDS, max_delay / 2))
        chain = replica.chain
        self._position = chain.position if chain else ""
        self._capture = Capture(
            path,
            replica.shadow,
            max_bytes=min(max_bytes, _PIECE_BYTES),
            position=parse_position(self._position),
            now_ms=replica.clock.now_ms,
            monotonic=replica.clock.monotonic,
            log=replica.log,
        )
        self._digest = chain.digest if chain else Digest()
        self._owing = chain is None or not chain.boundary
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"capture-{replica.name}")
        self._redo_bytes = 0
        self._moved = 0.0
        self._closed = replica.clock.monotonic() - max_delay
        self._reported = ""

    async def run(self) -> None:
        """Capture until cancelled. Raises StateError."""
        async with asyncio.TaskGroup() as group:
            watcher = Watcher(self._path, group)
            try:
                await self._loop(watcher)
            finally:
                watcher.stop()

    async def catch_up(self, *, patience: float) -> bool:
        """Capture what is committed now, and seal it. False where no quiet moment came in time.

        Raises SourceError where the database cannot be read.
        """
        clock = self._replica.clock
        end = clock.monotonic() + patience
        while True:
            begun = self._capture.is_looking
            try:
                progress = await self._poll()
            except SourceError as e:
                await self._report("failing", str(e))
                raise
            await self._report("ok", "")
            if progress.full or (progress.boundary and self._due(progress)):
                await self._seal(self._capture.take())
            elif progress.boundary:
                await self._move()
            # One look from its beginning is enough: a busy application would never let us see nothing.
            if progress.boundary and not progress.busy and not begun:
                return True
            if clock.monotonic() >= end:
                return False
            if not progress.full:
                await clock.sleep(_ACTIVE_SECONDS)

    async def tend(self) -> None:
        """See that the application's log is not held while our own work hangs. Until cancelled."""
        while True:
            await self._replica.clock.sleep(_TEND_SECONDS)
            self._capture.expire()

    async def close(self) -> None:
        """Let go of the application's files."""
        await self._in_thread(self._capture.close)
        self._thread.shutdown()

    async def _loop(self, watcher: Watcher) -> None:
        clock = self._replica.clock
        failures = 0
        opened: float | None = None
        active = clock.monotonic()
        while True:
            try:
                progress = await self._poll()
            except SourceError as e:
                failures += 1
                await self._report("failing", str(e))
                await watcher.wait(min(_LONGEST_WAIT, self._poll_interval * 2 ** min(failures, 8)))
                continue
            now = clock.monotonic()
            failures = failures + 1 if progress.busy else 0
            await self._report(*(("busy", progress.busy) if failures > _PATIENCE else ("ok", "")))
            if self._due(progress):
                opened = now if opened is None else opened
                active = now
            else:
                opened = None
                if progress.boundary and now - self._moved >= self._max_delay:
                    await self._move()
            due_in = self._closes_at(opened) - now if opened is not None else self._max_delay
            closes = progress.settled and (due_in <= 0 or self._replica.chain is None)
            if progress.full or (progress.boundary and closes):
                self._replica.closed = now
                # The end of what goes out in pieces waits no longer than it would have as one.
                self._closed = now if progress.boundary else self._closed
                await self._seal(self._capture.take())
                # What was written meanwhile is the next batch's, and waits its own time.
                opened = None if progress.boundary else opened
            elif not progress.settled:
                await clock.sleep(_UNSETTLED_SECONDS)
            elif progress.busy or now - active < _QUIET_AFTER:
                await self._glance(min(self._calm, due_in), first=opened is None)
            else:
                await watcher.wait(self._poll_interval)

    async def _glance(self, seconds: float, *, first: bool) -> None:
        """Wait so long, at most, for the next look: a look costs ten times what a glance does.

        What comes `first` opens a batch, and is looked at as soon as it is seen.
        """
        clock = self._replica.clock
        end = clock.monotonic() + seconds
        while True:
            await clock.sleep(max(_UNSETTLED_SECONDS, min(_ACTIVE_SECONDS, end - clock.monotonic())))
            if clock.monotonic() >= end or self._capture.stirs(first=first):
                return

    def _closes_at(self, opened: float) -> float:
        """When the batch closes whose first change was seen at `opened`, on the monotonic clock."""
        lead = min(self._replica.way, self._max_delay * _LONGEST_LEAD)
        return max(self._closed + self._max_delay, opened + self._max_delay * _TOGETHER) - lead

    def _due(self, progress: Progress) -> bool:
        """Whether there is something to seal, be it only the end of a batch that went out in pieces."""
        return progress.dirty or self._owing

    async def _poll(self) -> Progress:
        return await self._in_thread(self._capture.poll)

    async def _seal(self, piece: Piece) -> None:
        async with self._replica.lock:
            await to_completion(self._seal_locked(piece))

    async def _seal_locked(self, piece: Piece) -> None:
        replica = self._replica
        started = replica.clock.monotonic()
        if replica.chain is None:
            await self._copy(piece)
            return
        change = await self._in_thread(build_change, piece, replica.shadow, self._digest)
        if not change.images and not self._owing and change.delta.page_count == replica.shadow.page_count:
            return
        key = await replica.key()
        chain = self._next(replica.chain.generation, replica.chain.seq + 1, piece, change)
        sealed, redo = await self._in_thread(seal_change, key, chain.seq, self._digest, change)
        outgoing = Outgoing(sealed, piece.boundary, piece.first_ms, piece.last_ms)
        await replica.state.commit_delta(chain, outgoing, redo, sorted(change.images))
        replica.chain = chain
        self._digest = chain.digest
        self._owing = not piece.boundary
        self._position = chain.position
        await self._in_thread(apply_change, change, replica.shadow)
        replica.applied = chain.seq
        self._redo_bytes += sum(len(row.images) for row in redo)
        if self._redo_bytes > _REDO_BYTES:
            await self._in_thread(replica.shadow.sync)
            await replica.state.trim_redo(chain.seq)
            self._redo_bytes = 0
        replica.log(
            Event.DELTA_SEALED,
            seq=chain.seq,
            pages=len(change.images),
            bytes=len(change.images) * chain.page_size,
            sealed_bytes=len(sealed.sealed),
            commits=piece.commits,
            duration_ms=round((replica.clock.monotonic() - started) * 1000),
        )
        if dropped := await replica.state.limit_outbox(replica.outbox_bytes):
            replica.log(Event.OUTBOX_TRIMMED, deltas=dropped, limit_bytes=replica.outbox_bytes)
        replica.wake()

    def _next(self, generation: str, seq: int, piece: Piece, change: Change) -> Chain:
        delta = change.delta
        return Chain(
            generation=generation,
            seq=seq,
            digest=delta.digest,
            page_size=delta.page_size,
            page_count=delta.page_count,
            boundary=delta.boundary,
            position=format_position(piece.position),
            captured_ms=delta.last_ms,
        )

    async def _copy(self, piece: Piece) -> None:
        """A part of the first copy; at its end a generation begins.

        No delta needs it, so what is not yet there may stay a hole until it comes.
        """
        replica = self._replica
        await self._in_thread(copy_piece, piece, replica.shadow)
        if piece.boundary:
            await self._in_thread(replica.shadow.sync)
            self._digest = await self._in_thread(shadow_digest, replica.shadow)
            chain = Chain(
                generation=new_generation(replica.clock.now_ms()),
                seq=0,
                digest=self._digest,
                page_size=piece.page_size,
                page_count=piece.page_count,
                boundary=True,
                position=format_position(piece.position),
                captured_ms=piece.last_ms,
            )
            replica.log(Event.SOURCE_COPIED, pages=chain.page_count, bytes=chain.page_count * chain.page_size)
            await replica.begin(chain, "the first copy is complete")
            self._owing = False
            self._position = chain.position

    async def _move(self) -> None:
        """Remember where the application's files stand, though the database did not change."""
        position = format_position(self._capture.position)
        if position != self._position and self._replica.chain is not None:
            await self._replica.state.move(position)
            self._position = position
        self._moved = self._replica.clock.monotonic()

    async def _report(self, state: str, error: str) -> None:
        """Tell the log and `status`, once for every change of mind."""
        if self._reported == state + error:
            return
        replica = self._replica
        if state == "failing":
            replica.log(Event.SOURCE_LOST, path=str(self._path), error=error)
        elif state == "busy":
            replica.log(Event.SOURCE_BUSY, reason=error)
        self._reported = state + error
        await replica.state.set_source(str(self._path), state, error, replica.clock.now_ms())

    async def _in_thread(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
