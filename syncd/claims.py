"""Which daemon writes an archive: its claim, made before anything else, and looked at while it writes.

- A daemon that knows of no claim of its own makes the first one, or the next one where the last was made in
  its own place (this host and state directory, which one process at a time holds). Where another's is the
  last, it is refused: ArchiveClaimed. A take-over of its own place, whose state was lost, is completed first.
- A state that made a claim goes on under it, wherever it is, until another daemon takes over; and makes the
  next one for a new generation. So the copy of a state that lost a conflict goes on in its own generation,
  and both say that they are not alone.
- Claims are looked for in front of everything but bundles, and behind a manifest. A bundle needs no look:
  who takes over creates a closing under its name.
- What is claimed under another signing key is another's. For a daemon that holds a claim it is nothing.
- Who may not list is refused what is not there, just as what it may not read: a claim that is there tells
  the two apart. Who may read nothing sees no claim, and is stopped by the closing only.
"""

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.archive import read_claim, sign_claim
from syncd.clock import Clock
from syncd.envelope.keys import SigningKey, VerifyKey
from syncd.errors import (
    ArchiveClaimed,
    ArchiveError,
    FormatVersionError,
    ObjectExists,
    ObjectNotFound,
    StoreRefused,
    StoreUnavailable,
)
from syncd.format.claim import DAEMON_BYTES, MAX_HOST_BYTES, Act, Claim
from syncd.format.names import CLAIMS, claim_name, is_claim, is_generation, parse_claim
from syncd.log import Event, Log
from syncd.model import format_time
from syncd.state import Held, State
from syncd.store.base import Store

_MACHINE_ID: Final = Path("/etc/machine-id")
_TRIES: Final = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon lives: 16 bytes that tell two places apart and nothing else, and the host's name."""

    daemon: bytes
    host: str


def place_of(directory: Path, *, machine_id: Path = _MACHINE_ID) -> Place:
    """The place of the daemon that has its state in this directory.

    Machines that were cloned with their id are told apart by the host's name, containers as well.
    """
    host = socket.gethostname()
    machine = host.encode()
    with suppress(OSError):
        machine = machine_id.read_bytes().strip() or machine
    where = "\0".join(("syncd v1 daemon", host, str(directory.resolve())))
    daemon = hmac.digest(machine, where.encode(errors="surrogateescape"), "sha256")[:DAEMON_BYTES]
    return Place(daemon, "".join(c for c in host if c.isprintable())[: MAX_HOST_BYTES // 4])


class Standing:
    """What one state may do on one target.

    Args:
        store: the database's part of the target.
        target: its name.
        state: remembers what was claimed.
        database: its name.
        signing_key: of the daemon.
        clock: for the time in a claim.
        log: told of claims, ours and those beside.
        place: where this daemon lives.
        complete: closes what the claim of that number, of this place, took over. Raises StoreError.

    Every method raises StoreError, and ArchiveClaimed where another daemon is the one that writes.
    """

    def __init__(
        self,
        store: Store,
        target: str,
        *,
        state: State,
        database: str,
        signing_key: SigningKey,
        clock: Clock,
        log: Log,
        place: Place,
        complete: Callable[[int], Awaitable[object]],
    ) -> None:
        self._store, self._target, self._database = store, target, database
        self._claims, self._signing_key = state.claims, signing_key
        self._clock, self._log, self._place = clock, log, place
        self._complete = complete
        self._taking_over = False  # from its claim until it is settled; nothing else may be claimed meanwhile
        self._generation = ""  # the one that is known to be claimed, in this process
        self._seen = 0  # all claims up to this one were looked at
        self._proof = 0  # a claim that is there
        self._lock = asyncio.Lock()

    async def secure(self, generation: str) -> None:
        """Claim the target for this generation, unless that was done."""
        if self._generation == generation:
            return
        async with self._lock:
            held = await self._claims.held(self._target)
            if held is None or not await self._is_there(held):
                await self._claim_anew(generation)
            else:
                self._seen = self._proof = held.number
                await self._look()
                if held.generation != generation:
                    await self._claim_next(generation)
            self._generation = generation

    async def look(self) -> None:
        """Whether this state still is the one that writes."""
        async with self._lock:
            await self._look()

    async def closed(self) -> ArchiveClaimed:
        """Why a closing stands where our next bundle belongs."""
        try:
            await self.look()
        except ArchiveClaimed as e:
            return e
        return ArchiveClaimed(f"{self._store.url}: another daemon took this archive over", hint=self._how())

    async def take_over(self, generation: str) -> int:
        """End what others claimed; the number of our claim. `settle` it when their generations are closed."""
        async with self._lock:
            self._generation = ""
            for _ in range(_TRIES):
                number = await self._last()
                found = await self._must_read(number) if number else None
                if isinstance(found, ArchiveError):
                    raise self._refused(found)
                self._taking_over = True
                if await self._put(number + 1, Act.TAKE_OVER, generation):
                    return number + 1
            raise self._restless()

    async def settle(self, number: int) -> None:
        """What that claim took over is closed: a new generation may begin."""
        await self._claims.hold(self._target, Held(number, ""))
        self._taking_over = False

    async def _look(self) -> None:
        while True:
            try:
                found = await self._read(self._seen + 1)
            except StoreRefused:
                return  # it may read nothing
            if found is None:
                return
            await self._judge(found)
            self._seen += 1

    async def _judge(self, found: Claim | ArchiveError) -> None:
        """What a claim behind ours means for us."""
        if isinstance(found, FormatVersionError):
            raise self._refused(found)
        if isinstance(found, ArchiveError):
            return  # anybody who may create objects can put one there
        if found.act is Act.TAKE_OVER:
            raise ArchiveClaimed(
                f"{self._store.url}: {_who(found)} took this archive over at {format_time(found.time_ms)}"
                f" (claim {found.number})",
                hint=self._how(),
            )
        held = await self._claims.held(self._target)
        if held is not None and found.generation != held.generation:
            text = f"{_who(found)} writes here too since {format_time(found.time_ms)}"
            await self._claims.note_beside(
                self._target, f"{text}: generation {found.generation} (claim {found.number})"
            )
            self._log(
                Event.TARGET_SHARED,
                target=self._target,
                claim=found.number,
                generation=found.generation,
                host=found.host,
            )

    async def _is_there(self, held: Held) -> bool:
        """Whether the target has the claim that the state remembers; it may have been set back."""
        try:
            found = await self._read(held.number)
        except StoreRefused:  # gone, and it may not list; or there, and it may read nothing
            if is_generation(held.generation):
                await self._put(held.number, Act.BEGIN, held.generation)
            return True
        if isinstance(found, ArchiveError):
            raise self._refused(found) from found
        return found is not None and (found.act is Act.TAKE_OVER or found.generation == held.generation)

    async def _claim_anew(self, generation: str) -> None:
        """For a state that knows of no claim."""
        if await self._put(1, Act.BEGIN, generation):
            await self._hold(1, generation)
            return
        self._proof = 1
        for _ in range(_TRIES):
            number = await self._last()
            found = await self._must_read(number)
            if not isinstance(found, Claim) or not await self._may_follow(found, generation):
                raise self._refused(found)
            if found.generation == generation:  # made a moment ago, and not noted
                await self._hold(number, generation)
                return
            if await self._put(number + 1, Act.BEGIN, generation):
                await self._hold(number + 1, generation)
                return
        raise self._restless()

    async def _claim_next(self, generation: str) -> None:
        """For a state that made a claim; all that came behind it were looked at."""
        for _ in range(_TRIES):
            number = self._seen + 1
            if await self._put(number, Act.BEGIN, generation):
                await self._hold(number, generation)
                return
            found = await self._must_read(number)
            if isinstance(found, Claim) and found.generation == generation:
                await self._hold(number, generation)
                return
            await self._look()
        raise self._restless()

    async def _hold(self, number: int, generation: str) -> None:
        self._seen = self._proof = number
        await self._claims.hold(self._target, Held(number, generation))
        self._log(Event.TARGET_CLAIMED, target=self._target, claim=number, generation=generation)

    async def _may_follow(self, last: Claim, generation: str) -> bool:
        """Whether a state that knows of no claim may make the next one."""
        here = last.daemon == self._place.daemon
        if last.act is Act.BEGIN:
            return here or last.generation == generation
        if not here or self._taking_over:
            return False
        try:
            await self._complete(last.number)
        except StoreRefused:  # it may not list
            return False
        return True

    async def _last(self) -> int:
        """The number of the last claim, 0 where there is none: there is no gap before it."""
        low, step = 0, 1
        while await self._must_read(low + step) is not None:
            low, step = low + step, 2 * step
        while step > 1:
            step //= 2
            if await self._must_read(low + step) is not None:
                low += step
        return low

    async def _must_read(self, number: int) -> Claim | ArchiveError | None:
        try:
            return await self._read(number)
        except StoreRefused as e:
            raise StoreRefused(
                f"{self._store.url}: {claim_name(number)} may not be read, and only a look can tell whether"
                " it is ours, from a request whose answer was lost, or another daemon's",
                hint="let the writer read claims, as `syncd policy writer` prints it; nothing is lost",
            ) from e

    async def _read(self, number: int) -> Claim | ArchiveError | None:
        """A claim, or why it cannot be used; None where there is none. StoreRefused: it may read none."""
        try:
            raw = await self._store.get(claim_name(number))
        except ObjectNotFound:
            return None
        except StoreRefused:
            if self._proof in {0, number}:
                raise
            await self._store.get(claim_name(self._proof))
            return None
        self._proof = number
        try:
            return read_claim(
                raw, number=number, database=self._database, verify_key=self._signing_key.verify_key
            )
        except ArchiveError as e:
            return e

    async def _put(self, number: int, act: Act, generation: str) -> bool:
        """Create a claim; False where that number is taken."""
        place = self._place
        claim = Claim(self._database, number, act, generation, place.daemon, place.host, self._clock.now_ms())
        try:
            await self._store.put(claim_name(number), sign_claim(self._signing_key, claim))
        except ObjectExists:
            return False
        return True

    def _refused(self, last: Claim | ArchiveError | None) -> ArchiveClaimed:
        """Why nothing is written behind that claim."""
        if not isinstance(last, Claim):
            return ArchiveClaimed(
                f"{self._store.url}: the last claim is not this daemon's: {last}",
                hint="give this database a name of its own, or its target another prefix; or its daemon the"
                " signing key of that archive",
            )
        if last.act is Act.TAKE_OVER and last.daemon == self._place.daemon:
            return ArchiveClaimed(
                f"{self._store.url}: it was being taken over from here (claim {last.number})",
                hint=self._how(),
            )
        return ArchiveClaimed(
            f"{self._store.url}: {_who(last)} writes this archive since {format_time(last.time_ms)}"
            f" (claim {last.number})",
            hint=self._how(),
        )

    def _how(self) -> str:
        return (
            f"where that one is gone for good: syncd claim {self._database} --take-over;"
            " else give this one a name or a prefix of its own"
        )

    def _restless(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._store.url}: others claim it all the time")


async def read_claims(
    store: Store, *, database: str | None, verify_key: VerifyKey
) -> list[tuple[int, Claim | ArchiveError]]:
    """Every claim of an archive by its number, or why it cannot be used. Raises StoreError."""
    found: list[tuple[int, Claim | ArchiveError]] = []
    async for info in store.objects(CLAIMS):
        if not is_claim(info.name):
            continue
        number, raw = parse_claim(info.name), await store.get(info.name)
        try:
            found.append((number, read_claim(raw, number=number, database=database, verify_key=verify_key)))
        except ArchiveError as e:
            found.append((number, e))
    return found


def _who(claim: Claim) -> str:
    return f"the daemon on {claim.host or 'a host without a name'}"
