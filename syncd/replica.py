"""What the tasks that keep one database share: its state, its shadow, and the key of the day.

- `lock` is held while a batch is acknowledged and applied: whoever holds it sees shadow and chain agree.
- Everyone in `wakes` is woken whenever there is something new to ship.
- A key serves one process, one generation and one day (UTC) at most. `key` gives none that is over; who has
  one ends under it what was begun under it, and when nobody has it any more, it is overwritten.
- A generation that another daemon wrote to (this state was copied, or is an old one) is left alone, and
  another begins. So it does where a target was taken over from another daemon.
- A directory that was lost, or whose shadow does not match its digest after a crash, begins a new
  generation: nothing is guessed.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ulid import ULID

from syncd.archive import new_epoch, seal_delta
from syncd.clock import Clock, to_completion
from syncd.durable import make_directory
from syncd.envelope.epoch import EpochKey
from syncd.envelope.keys import Recipient, SigningKey
from syncd.errors import ArchiveError, StateError
from syncd.format.delta import Delta
from syncd.format.pack import decode_pack_content
from syncd.log import Event, Log
from syncd.model import Digest
from syncd.source.shadow import Shadow
from syncd.state import SHADOW_FILE, STATE_FILE, Chain, Outgoing, Redo, State, open_state

_DAY_MS: Final = 86_400_000
_LOOK_SECONDS: Final = 60.0
_SMOOTHING: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sealing:
    """Who may write, and for whom: the daemon's signing key and the public recipients."""

    signing_key: SigningKey
    recipients: tuple[Recipient, ...]


@dataclass(slots=True)
class Replica:
    """One database as its tasks see it. `chain` is None until the first copy is complete.

    `outbox_bytes` of deltas wait at most. `applied` is the last delta that is in the shadow; `stored` is
    set once a position of this chain can be restored from some target. `closed` is when the last batch was
    closed that no target has yet (monotonic), `way` the seconds that it took lately until one had it.
    """

    name: str
    state: State
    shadow: Shadow
    sealing: Sealing
    clock: Clock
    log: Log
    chain: Chain | None
    outbox_bytes: int
    applied: int = 0
    closed: float | None = None
    way: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wakes: list[asyncio.Event] = field(default_factory=list)
    stored: asyncio.Event = field(default_factory=asyncio.Event)
    _key: EpochKey | None = None
    _day: int = 0

    def arrived(self) -> None:
        """A target has everything; if it is the first, then how long the last batch took counts."""
        if self.closed is not None:
            self.way += _SMOOTHING * (self.clock.monotonic() - self.closed - self.way)
            self.closed = None

    async def key(self) -> EpochKey:
        """The key to seal with now; made, and its wrapping kept, at its first use. Call it under `lock`.

        Raises StateError where there is no generation yet.
        """
        if self.chain is None:
            raise StateError("there is no generation to seal for")
        self._expire()
        if self._key is None or self._key.generation != self.chain.generation:
            self._key = await self._new_key(self.chain.generation)
        return self._key

    async def rotate(self) -> int:
        """Begin a new epoch now, and tell its number. Raises StateError."""
        async with self.lock:
            self._key = None
            return (await self.key()).number

    async def expire_keys(self) -> None:
        """Let go of a key soon after its day is over, also where nothing is there to be sealed."""
        while True:
            await self.clock.sleep(_LOOK_SECONDS)
            self._expire()

    def _expire(self) -> None:
        # Unequal, not less: a clock that was far ahead for a while must not make its key last until then.
        if self._day != self.clock.now_ms() // _DAY_MS:
            self._key = None

    async def _new_key(self, generation: str) -> EpochKey:
        now_ms = self.clock.now_ms()
        number = await self.state.next_epoch()
        key, wrapped = new_epoch(
            self.name,
            generation,
            number,
            created_ms=now_ms,
            recipients=self.sealing.recipients,
            signing_key=self.sealing.signing_key,
        )
        await self.state.add_epoch(number, wrapped)
        self._day = now_ms // _DAY_MS
        self.log(
            Event.EPOCH_STARTED, generation=generation, epoch=number, recipients=len(self.sealing.recipients)
        )
        return key

    async def begin(self, chain: Chain, reason: str) -> None:
        """A new generation starts with what the shadow holds now."""
        await self.state.begin_chain(chain)
        self.chain = chain
        self.applied = chain.seq
        self._key = None
        self.log(Event.GENERATION_STARTED, generation=chain.generation, reason=reason, pages=chain.page_count)
        self.wake()

    async def touch(self) -> None:
        """Seal a delta that changes nothing: a new position, for a snapshot that must not be the last one.

        Does nothing in the middle of a large batch, or where the database is empty.
        """
        async with self.lock:
            chain = self.chain
            if chain is None or not chain.boundary or not chain.page_size:
                return
            await to_completion(self._touch(chain))
        self.wake()

    async def _touch(self, chain: Chain) -> None:
        when = chain.captured_ms
        nothing = Delta(
            chain.page_size,
            chain.page_count,
            chain.digest,
            first_ms=when,
            last_ms=when,
            commits=0,
            boundary=True,
            rebase=False,
            groups=(),
        )
        following = replace(chain, seq=chain.seq + 1)
        sealed = seal_delta(await self.key(), following.seq, chain.digest, nothing)
        outgoing = Outgoing(sealed, boundary=True, first_ms=when, last_ms=when)
        await self.state.commit_delta(following, outgoing, redo=())
        self.chain, self.applied = following, following.seq

    def wake(self) -> None:
        """There may be something new to ship."""
        for wake in self.wakes:
            wake.set()

    async def close(self) -> None:
        """Make the shadow durable and let go of the files, also when cancelled meanwhile."""
        await to_completion(self._close())

    async def _close(self) -> None:
        try:
            if self.chain is not None:
                with suppress(StateError):
                    await asyncio.to_thread(self.shadow.sync)
                    await self.state.trim_redo(self.applied)
        finally:
            self.shadow.close()
            await self.state.close()


async def open_replica(
    name: str,
    directory: Path,
    *,
    sealing: Sealing,
    targets: Sequence[tuple[str, str]],
    clock: Clock,
    log: Log,
    outbox_bytes: int = 1 << 30,
) -> Replica:
    """Open what the last process left behind, and bring the shadow up to date. Raises StateError."""
    try:
        await asyncio.to_thread(make_directory, directory)
    except OSError as e:
        raise StateError(f"{directory} cannot be made: {e.strerror}", hint="check state_dir") from e
    state = await open_state(directory / STATE_FILE)
    try:
        conflicted = await state.conflicted() & {target for target, _ in targets}
        await state.use_targets(targets)
        chain = await state.chain()
        shadow = Shadow(directory / SHADOW_FILE, *((chain.page_size, chain.page_count) if chain else ()))
        try:
            if chain is not None and not await to_completion(_replay(state, shadow, chain, log)):
                chain = None
            if chain is None:
                shadow.rebase(0)
            elif conflicted:
                chain = await _begin_anew(state, shadow, chain, clock.now_ms())
                where = ", ".join(sorted(conflicted))
                reason = f"another daemon wrote to the one before, or was taken over from, on {where}"
                log(Event.GENERATION_STARTED, generation=chain.generation, reason=reason)
        except BaseException:
            shadow.close()
            raise
    except BaseException:
        await state.close()
        raise
    applied = chain.seq if chain else 0
    return Replica(name, state, shadow, sealing, clock, log, chain, outbox_bytes, applied=applied)


async def _begin_anew(state: State, shadow: Shadow, chain: Chain, now_ms: int) -> Chain:
    """The same database, as the beginning of a generation of its own."""
    await asyncio.to_thread(shadow.sync)
    anew = replace(chain, generation=new_generation(now_ms), seq=0)
    await state.begin_chain(anew)
    return anew


async def _replay(state: State, shadow: Shadow, chain: Chain, log: Log) -> bool:
    """Apply the redo. After an unclean end the digest decides whether the shadow can be trusted."""
    count = 0
    async for redo in state.redo():
        await asyncio.to_thread(_apply_redo, shadow, redo)
        count += 1
    whole = shadow.path.stat().st_size == chain.page_count * chain.page_size
    if count and whole:
        shadow.page_size, shadow.page_count = chain.page_size, chain.page_count
        whole = await asyncio.to_thread(shadow_digest, shadow) == chain.digest
        log(Event.REDO_REPLAYED, deltas=count, pages=chain.page_count)
        if whole:
            await asyncio.to_thread(shadow.sync)
            await state.trim_redo(chain.seq)
    return whole


def _apply_redo(shadow: Shadow, redo: Redo) -> None:
    if redo.rebase:
        shadow.rebase(redo.page_size)
    size = shadow.page_size = redo.page_size
    numbers: tuple[int, ...] = ()
    images = b""
    try:
        if redo.images:
            _, numbers, images = decode_pack_content(redo.images)
    except ArchiveError as e:
        raise StateError(f"a redo image in syncd's state cannot be read: {e}") from e
    pages = {number: images[i * size : (i + 1) * size] for i, number in enumerate(numbers)}
    shadow.apply(pages, redo.page_count)


def shadow_digest(shadow: Shadow) -> Digest:
    """The digest of the shadow as it lies, read page by page."""
    return Digest().replace(added=shadow.read_many(range(1, shadow.page_count + 1)))


def new_generation(now_ms: int) -> str:
    """A name for an unbroken chain: a ULID, so that names sort by time."""
    return str(ULID.from_timestamp(now_ms / 1000))
