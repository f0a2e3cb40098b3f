"""Fetching and reporting, the same for every kind of object.

- What a listing shows and nobody can get is damage; what went from the listing as well was pruned meanwhile.
- An error's sentence begins with the object's name; a finding names it already, so there it goes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from syncd.archive import read_epoch
from syncd.envelope.keys import Identity, VerifyKey
from syncd.errors import ArchiveError, FormatVersionError, IdentityError, ObjectNotFound, StoreUnavailable
from syncd.format.names import epoch_name
from syncd.policy.proof import Finding, Report, seqs_text
from syncd.reader import Reader
from syncd.store.base import Store

FETCHES: Final = 4
_T = TypeVar("_T")
_U = TypeVar("_U")


class Progress(Protocol):
    """Told of what was fetched."""

    def begin(self, total_bytes: int) -> None:
        """So much is to be fetched, at least."""
        ...

    def advance(self, fetched_bytes: int) -> None:
        """So much more was fetched."""
        ...


@dataclass(slots=True)
class Scan:
    """One verification: where it looks, with which keys, and what it has found so far.

    `opens` is False where nothing sealed is looked at. `strangers` are epochs that are fine but not for
    the identity.
    """

    store: Store
    database: str | None
    verify_key: VerifyKey
    identity: Identity | None
    opens: bool
    marked: Collection[str]
    progress: Progress | None = None
    report: Report = field(default_factory=Report)
    strangers: list[IdentityError] = field(default_factory=list)
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(
            self.store, identity=self.identity, verify_key=self.verify_key, database=self.database
        )

    async def fetch(self, name: str) -> bytes | None:
        """The object, None where there is none.

        Raises ArchiveError where the store has it and cannot give it (its own checksum fails, a bad disk),
        StoreError where the store itself is out of reach.
        """
        try:
            raw = await self._get(name)
        except ObjectNotFound:
            return None
        self.report.objects += 1
        self.report.bytes += len(raw)
        if self.progress is not None:
            self.progress.advance(len(raw))
        return raw

    async def _get(self, name: str) -> bytes:
        try:
            return await self.store.get(name)
        except StoreUnavailable:
            try:
                return await self.store.get(name)
            except StoreUnavailable as e:
                await self.store.dirs("")  # raises where it is not about this object
                raise ArchiveError(f"the store has it and cannot give it: {e.message}") from e

    async def exists(self, name: str) -> bool:
        """Whether asking for it finds an object, readable or not."""
        try:
            return await self.fetch(name) is not None
        except ArchiveError:
            return True

    async def fetch_listed(self, name: str, affects: str, *, excused: bool = False) -> bytes | None:
        """An object that a listing showed; None, and said why, where nobody can get it."""
        raw = await self.fetch(name)
        if raw is None:
            if await self.is_listed(name):
                self.find(name, "it is listed, but not there when it is asked for", affects, excused=excused)
            else:
                self.note(name, "it went while the archive was verified")
        return raw

    async def is_listed(self, name: str) -> bool:
        """Whether a listing shows the object now."""
        return any([info.name == name async for info in self.store.objects(name)])

    def find(self, name: str, problem: str, affects: str = "", *, excused: bool = False) -> None:
        """Damage; a note of it where the object waits for its deletion, and nothing else needs it."""
        if excused:
            self.note(name, f"{problem}; it is marked for deletion", affects)
        else:
            self.report.findings.append(Finding(name, problem, affects))

    def note(self, name: str, problem: str, affects: str = "") -> None:
        """What may be in order."""
        self.report.notes.append(Finding(name, problem, affects))

    def blame(self, name: str, error: ArchiveError, affects: str, *, excused: bool = False) -> None:
        """A finding from an error. What a newer syncd wrote is not damage: raises FormatVersionError."""
        if isinstance(error, FormatVersionError):
            raise error
        self.find(name, error.message.removeprefix(f"{name}: "), affects, excused=excused)

    async def check_epoch(self, generation: str, number: int, raw: bytes) -> bool:
        """Whether the epoch opens (or need not); one that is not for this identity is noted.

        Raises ArchiveError where it is damaged or forged.
        """
        read_epoch(
            raw,
            database=self.database,
            generation=generation,
            verify_key=self.verify_key,
            number=number,
        )
        if not self.opens:
            return True
        try:
            await self.reader.key(generation, number)
        except IdentityError as e:
            self.strangers.append(e)
            self.note(
                epoch_name(generation, number),
                e.message,
                "what it seals cannot be restored with this identity",
            )
            return False
        return True


@dataclass(slots=True)
class Use:
    """What names one epoch: deltas from `first` to `last`, and snapshots."""

    first: int = -1
    last: int = -1
    snapshots: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Uses:
    """Which objects of a generation name which epoch."""

    of: dict[int, Use] = field(default_factory=dict)

    def add_delta(self, epoch: int, seq: int) -> None:
        """A delta is sealed under it. Deltas come in order."""
        use = self.of.setdefault(epoch, Use())
        use.first = seq if use.first < 0 else use.first
        use.last = seq

    def add_snapshot(self, epoch: int, seq: int) -> None:
        """A snapshot's digest is sealed under it."""
        self.of.setdefault(epoch, Use()).snapshots.add(seq)

    def add_pack(self, epoch: int, snapshots: Iterable[int]) -> None:
        """A pack of these snapshots is sealed under it."""
        self.of.setdefault(epoch, Use()).snapshots.update(snapshots)

    def numbers(self) -> set[int]:
        """All epochs that are named."""
        return set(self.of)

    def text(self, epoch: int) -> str:
        """What cannot be opened without it."""
        use = self.of.get(epoch)
        if use is None:
            return ""
        parts = [seqs_text(sorted(use.snapshots))] if use.snapshots else []
        if use.first >= 0:
            parts.append(f"deltas {use.first} to {use.last}")
        return ", ".join(parts)


async def ahead(
    items: AsyncIterator[_T], fetch: Callable[[_T], Awaitable[_U]]
) -> AsyncIterator[tuple[_T, _U]]:
    """Each item with what `fetch` gave, in order, a few of them at a time."""
    waiting: deque[tuple[_T, asyncio.Future[_U]]] = deque()
    try:
        async for item in items:
            waiting.append((item, asyncio.ensure_future(fetch(item))))
            if len(waiting) >= FETCHES:
                first, future = waiting.popleft()
                yield first, await future
        while waiting:
            first, future = waiting.popleft()
            yield first, await future
    finally:
        for _, future in waiting:
            future.cancel()
        await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
