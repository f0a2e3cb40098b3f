"""From an archive to the database file it keeps, byte for byte.

- Everything is written to a temporary file beside the target, checked against the digest that the
  manifest and every delta carry, synced, and only then renamed. Nothing is ever half-written under its
  final name, and never over an existing file unless told to.
- Only a boundary is a result: pieces of a larger batch wait on disk until the last one was read.
- Packs and bundles are fetched ahead, and applied as they come; memory is bounded.
- While it runs there is a lease in the store, so that no prune deletes what it reads; a store that takes
  none is read all the same.
- The result is proven as a whole; only where that fails is it done again with a proof of every delta,
  to name the one that is wrong.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from syncd.ahead import ahead
from syncd.clock import Clock, SystemClock, to_completion
from syncd.destination import check_destination, partial_beside, publish, spooled
from syncd.envelope.keys import Identity, VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint, StoreError
from syncd.format.manifest import Manifest
from syncd.format.marks import Purpose, Range
from syncd.format.names import MAX_SEQ
from syncd.heap import roomy_heap
from syncd.marks import lease
from syncd.model import Digest
from syncd.policy.plan import Plan
from syncd.reader import Reader, SealedPack, runs_by_pack
from syncd.rebuild import Image, Successor, Unproven
from syncd.store.base import Store

_PACKS: Final = 24
_BUNDLES: Final = 128
_PACKS_BYTES: Final = 12 << 20
_BUNDLES_BYTES: Final = 8 << 20
_THREADS: Final = min(3, os.cpu_count() or 1)  # each takes some 20 MB for a pack of 4 MiB
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out: the position, its time, the file's size in bytes, and how many deltas it took.

    `gap`: first and last seq of deltas that are not there behind it, where that is why it came to no later
    position.
    """

    generation: str
    seq: int
    captured_ms: int
    bytes: int
    deltas: int
    gap: tuple[int, int] | None = None


class Progress(Protocol):
    """Told of what was fetched; the command line draws it."""

    def begin(self, total_bytes: int) -> None:
        """So much is to be fetched."""
        ...

    def advance(self, fetched_bytes: int) -> None:
        """So much more was fetched."""
        ...


class Restore:
    """One restore from the archive of one database.

    Args:
        store: the archive.
        identity: opens the epochs.
        verify_key: of the daemon that wrote it.
        database: the name that the archive must carry, None for any.
        progress: told of bytes fetched.
        clock: of the lease; the machine's where None.
    """

    def __init__(
        self,
        store: Store,
        *,
        identity: Identity,
        verify_key: VerifyKey,
        database: str | None,
        progress: Progress,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="restore")
        self._reader = Reader(
            store, identity=identity, verify_key=verify_key, database=database, threads=self._threads
        )
        self._progress = progress

    async def run(self, plan: Plan, to: Path, *, force: bool) -> Restored:
        """Restore to the file `to`. Raises WouldOverwrite, ArchiveError, NoRestorePoint, StoreError."""
        await asyncio.to_thread(check_destination, to, force=force)
        start = plan.snapshot
        manifest = await self._reader.manifest(start.generation, start.seq)
        async with self._protected(plan, manifest.database):
            return await self._restore(plan, manifest, to, force=force)

    @asynccontextmanager
    async def _protected(self, plan: Plan, database: str) -> AsyncIterator[None]:
        """With a lease on what is read. Without one where the store takes none: reading goes on."""
        last = MAX_SEQ if plan.seq is None else min(plan.seq, MAX_SEQ)
        reads = Range(plan.snapshot.generation, plan.snapshot.seq, last)
        async with AsyncExitStack() as stack:
            with suppress(StoreError):
                await stack.enter_async_context(
                    lease(self._store, self._clock, database, Purpose.RESTORE, [reads])
                )
            yield

    async def _restore(self, plan: Plan, manifest: Manifest, to: Path, *, force: bool) -> Restored:
        with partial_beside(to) as path, closing(Image(path)) as image:
            try:
                restored = await self._rebuild(plan, manifest, image, strict=False)
            except Unproven:
                restored = await self._rebuild(plan, manifest, image, strict=True)
            await self._in_thread(image.finish)
            await asyncio.to_thread(publish, path, to, force=force)
        return restored

    async def _rebuild(self, plan: Plan, manifest: Manifest, image: Image, *, strict: bool) -> Restored:
        self._progress.begin(plan.bytes)
        start = plan.snapshot
        with roomy_heap():
            digest = await self._apply_packs(manifest, image)
        with spooled(image.path.parent) as spool:
            successor = Successor(
                image, plan, partial(self._reader.open, start.generation), digest, spool, strict=strict
            )
            await self._apply_deltas(plan, successor)
            await self._in_thread(successor.finish)
        if plan.seq not in {None, successor.seq}:
            raise NoRestorePoint(
                f"seq {plan.seq} of generation {start.generation} is not a position that can be restored",
                hint=f"the last one before it is {successor.seq}; `syncd log` lists what is kept",
            )
        return Restored(
            start.generation,
            successor.seq,
            successor.captured_ms,
            image.page_count * image.page_size,
            successor.count,
            successor.gap,
        )

    async def _in_thread(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """To its end, also when cancelled: the file is closed afterwards."""

        async def done() -> _T:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(work, *args, **kwargs))

        return await to_completion(done())

    async def _apply_packs(self, manifest: Manifest, image: Image) -> Digest:
        """Write the snapshot. Returns its digest, which what was written has."""
        expected = await self._reader.digest(manifest)
        await self._in_thread(image.begin, manifest.page_size, manifest.page_count)
        runs = runs_by_pack(manifest)
        packs = manifest.packs

        async def pack(index: int) -> int:
            sealed = await self._reader.sealed_pack(manifest, index)
            return await self._in_thread(_write_pack, image, sealed, runs[index])

        total = 0
        lists = ahead(
            range(len(packs)),
            pack,
            cost=lambda i: packs[i].size,
            most_bytes=_PACKS_BYTES,
            most=_PACKS,
        )
        async with aclosing(lists):
            async for written in lists:
                for index, term in written:
                    total += term
                    self._progress.advance(packs[index].size)
        if Digest(total % (1 << 256)) != expected:
            raise ArchiveError(
                f"the snapshot at seq {manifest.seq} of generation {manifest.generation} does not give the"
                " database it was made from"
            )
        image.proven(expected)
        return expected

    async def _apply_deltas(self, plan: Plan, successor: Successor) -> None:
        lists = ahead(
            plan.bundles,
            lambda entry: self._reader.bundle(entry.generation, entry.first_seq),
            cost=lambda entry: entry.bytes,
            most_bytes=_BUNDLES_BYTES,
            most=_BUNDLES,
        )
        async with aclosing(lists):
            async for bundles in lists:
                self._progress.advance(sum(entry.bytes for entry, _ in bundles))
                deltas = [bundle.deltas for _, bundle in bundles]
                if not await self._in_thread(successor.feed, deltas):
                    return


def _write_pack(image: Image, sealed: SealedPack, runs: NDArray[np.int64]) -> int:
    """Write what is live of a pack; its terms of the digest, summed up.

    Opened and written in one go: opened packs that wait for their turn would be held in memory.
    """
    pack = sealed.open()
    return sum(image.write(first, pack.run(first, count, offset)) for first, count, offset in runs.tolist())
