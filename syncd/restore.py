"""From an archive to the database file it keeps, byte for byte.

- Everything is written to a temporary file beside the target, checked against the digest that the
  manifest and every delta carry, synced, and only then renamed. Nothing is ever half-written under its
  final name, and never over an existing file unless told to.
- Only a boundary is a result: pieces of a larger batch wait on disk until the last one was read.
- Packs and bundles are fetched ahead; memory is bounded by a few of them.
"""

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar

from syncd.destination import check_destination, partial_beside, publish
from syncd.envelope.keys import Identity, VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint
from syncd.format.delta import Delta, SealedDelta, apply_patch, check_follows, decode_delta, encode_delta
from syncd.format.manifest import Manifest
from syncd.model import Digest
from syncd.policy.plan import Plan
from syncd.reader import Reader
from syncd.source.shadow import Shadow
from syncd.store.base import Store

_FETCHES: Final = 4
_T = TypeVar("_T")
_U = TypeVar("_U")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out: the position, its time, the file's size in bytes, and how many deltas it took."""

    generation: str
    seq: int
    captured_ms: int
    bytes: int
    deltas: int


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
    """

    def __init__(
        self,
        store: Store,
        *,
        identity: Identity,
        verify_key: VerifyKey,
        database: str | None,
        progress: Progress,
    ) -> None:
        self._reader = Reader(store, identity=identity, verify_key=verify_key, database=database)
        self._progress = progress

    async def run(self, plan: Plan, to: Path, *, force: bool) -> Restored:
        """Restore to the file `to`. Raises WouldOverwrite, ArchiveError, NoRestorePoint, StoreError."""
        await asyncio.to_thread(check_destination, to, force=force)
        self._progress.begin(plan.bytes)
        with partial_beside(to) as partial:
            image = Shadow(partial)
            try:
                restored = await self._rebuild(plan, image)
                await asyncio.to_thread(image.sync)
            finally:
                image.close()
            await asyncio.to_thread(publish, partial, to, force=force)
        return restored

    async def _rebuild(self, plan: Plan, image: Shadow) -> Restored:
        start = plan.snapshot
        manifest = await self._reader.manifest(start.generation, start.seq)
        digest = await self._apply_packs(manifest, image)
        seq, captured_ms, count = start.seq, start.captured_ms, 0
        with tempfile.TemporaryFile(dir=image.path.parent) as spool:
            pieces = 0
            reached = digest
            async for sealed, delta in self._deltas(plan, digest):
                if plan.at_ms is not None and delta.boundary and delta.last_ms > plan.at_ms:
                    break
                pieces += 1
                if not delta.boundary or pieces > 1:
                    await asyncio.to_thread(_spool, spool, delta)
                if delta.boundary:
                    batch = [delta] if pieces == 1 else _unspool(spool)
                    reached = await asyncio.to_thread(_apply_deltas, image, batch, reached, sealed.seq)
                    seq, captured_ms, count, pieces = sealed.seq, delta.last_ms, count + pieces, 0
        if plan.seq not in {None, seq}:
            raise NoRestorePoint(
                f"seq {plan.seq} of generation {start.generation} is not a position that can be restored",
                hint=f"the last one before it is {seq}; `syncd log` lists what is kept",
            )
        return Restored(start.generation, seq, captured_ms, image.page_count * image.page_size, count)

    async def _apply_packs(self, manifest: Manifest, image: Shadow) -> Digest:
        """Write the snapshot. Returns its digest, which what was written has."""
        expected = await self._reader.digest(manifest)
        image.rebase(manifest.page_size)
        runs: dict[int, list[tuple[int, int, int]]] = {}
        for run in manifest.runs:
            runs.setdefault(run.pack, []).append((run.first_page, run.count, run.offset))
        digest = Digest()
        async for index, pages in _ahead(
            range(len(manifest.packs)), lambda i: self._pack(manifest, i, runs[i])
        ):
            digest = await asyncio.to_thread(_write_pages, image, pages, digest)
            self._progress.advance(manifest.packs[index].size)
        image.apply({}, manifest.page_count)
        if digest != expected:
            raise ArchiveError(
                f"the snapshot at seq {manifest.seq} of generation {manifest.generation} does not give the"
                " database it was made from"
            )
        return digest

    async def _pack(
        self, manifest: Manifest, index: int, runs: list[tuple[int, int, int]]
    ) -> dict[int, bytes]:
        pack = await self._reader.pack(manifest, index)

        def live() -> dict[int, bytes]:
            size = pack.page_size
            pages: dict[int, bytes] = {}
            for first, count, offset in runs:
                images = pack.run(first, count, offset)
                for i in range(count):
                    pages[first + i] = bytes(images[i * size : (i + 1) * size])
            return pages

        return await asyncio.to_thread(live)

    async def _deltas(self, plan: Plan, digest: Digest) -> AsyncIterator[tuple[SealedDelta, Delta]]:
        """The deltas behind the snapshot, opened, in order and without a gap."""
        reached = plan.snapshot.seq
        generation = plan.snapshot.generation
        async for entry, bundle in _ahead(
            plan.bundles, lambda b: self._reader.bundle(b.generation, b.first_seq)
        ):
            self._progress.advance(entry.bytes)
            for sealed in bundle:
                if sealed.seq <= reached:
                    continue
                if not plan.wants(sealed.seq):
                    return
                if sealed.seq != reached + 1:
                    if plan.allows_gap(reached, sealed.seq):
                        return
                    raise ArchiveError(
                        f"deltas {reached + 1} to {sealed.seq - 1} of generation {generation} are missing",
                        hint=f"restore an earlier position with --seq {reached}, or from another target",
                    )
                delta = self._reader.open(generation, sealed, digest)
                yield sealed, delta
                digest, reached = delta.digest, sealed.seq


def _write_pages(image: Shadow, pages: dict[int, bytes], digest: Digest) -> Digest:
    image.apply(pages, max(image.page_count, max(pages, default=0)))
    return digest.replace(added=pages.items())


def _apply_deltas(image: Shadow, deltas: Iterable[Delta], digest: Digest, seq: int) -> Digest:
    """Apply a batch, piece by piece, each checked. Returns the digest reached."""
    for delta in deltas:
        check_follows(delta, page_size=image.page_size, page_count=image.page_count)
        base_count = 0 if delta.rebase else image.page_count
        if delta.rebase:
            image.rebase(delta.page_size)
            digest = Digest()
        digest = digest.replace(removed=image.read_many(range(delta.page_count + 1, base_count + 1)))
        for group in delta.groups:
            old = list(image.read_many(n for n in group.pages if n <= base_count))
            size = len(group.pages) * delta.page_size
            new = apply_patch(b"".join(page for _, page in old), group.patch, size)
            pages = {
                number: new[i * delta.page_size : (i + 1) * delta.page_size]
                for i, number in enumerate(group.pages)
            }
            digest = digest.replace(removed=old, added=pages.items())
            image.apply(pages, delta.page_count)
        image.apply({}, delta.page_count)
        if digest != delta.digest:
            raise ArchiveError(
                f"delta {seq}: applying it does not give the database it was made from",
                hint="restore an earlier position with --seq, or from another target",
            )
    return digest


def _spool(spool: BinaryIO, delta: Delta) -> None:
    raw = encode_delta(delta)
    spool.seek(0, os.SEEK_END)
    spool.write(len(raw).to_bytes(8))
    spool.write(raw)


def _unspool(spool: BinaryIO) -> Iterator[Delta]:
    spool.seek(0)
    while head := spool.read(8):
        yield decode_delta(spool.read(int.from_bytes(head)))
    spool.seek(0)
    spool.truncate()


async def _ahead(items: Iterable[_T], fetch: Callable[[_T], Awaitable[_U]]) -> AsyncIterator[tuple[_T, _U]]:
    """Each item with what `fetch` gave, in order, a few of them at a time."""
    waiting: deque[tuple[_T, asyncio.Future[_U]]] = deque()
    try:
        for item in items:
            waiting.append((item, asyncio.ensure_future(fetch(item))))
            if len(waiting) >= _FETCHES:
                first, future = waiting.popleft()
                yield first, await future
        while waiting:
            first, future = waiting.popleft()
            yield first, await future
    finally:
        for _, future in waiting:
            future.cancel()
        await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
