"""Reads the objects of one database's archive: fetched, checked, opened.

- An object that is missing is an ArchiveError, like one that is damaged; both name it.
- An epoch is fetched and opened once, however many callers wait for it.
- Calls may run concurrently; what takes long runs in threads. Nothing but keys is kept.
- Without an identity, what is in the clear can still be read: manifests, and the order of bundles.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from syncd.archive import (
    manifest_digest,
    open_delta,
    open_epoch,
    open_pack,
    pack_epoch,
    read_bundle,
    read_manifest,
)
from syncd.envelope.epoch import EpochKey
from syncd.envelope.keys import Identity, VerifyKey
from syncd.errors import ArchiveError, IdentityError, ObjectNotFound
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta, SealedDelta
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import deltas_name, epoch_name, pack_name, snapshot_name
from syncd.model import Digest
from syncd.store.base import Store

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pack:
    """An opened pack: `images` has the page `numbers[i]` at byte i * page_size, dead pages included."""

    name: str
    page_size: int
    numbers: tuple[int, ...]
    images: bytes

    def run(self, first_page: int, count: int, offset: int) -> memoryview:
        """The images of a run of the manifest. Raises ArchiveError where they are not in this pack."""
        if self.numbers[offset : offset + count] != tuple(range(first_page, first_page + count)):
            raise ArchiveError(f"{self.name}: it does not hold the pages that the manifest names")
        return memoryview(self.images)[offset * self.page_size : (offset + count) * self.page_size]


@dataclass(frozen=True, slots=True)
class SealedPack:
    """The pack that a manifest names, and the key to it."""

    name: str
    ref: PackRef
    page_size: int
    key: EpochKey
    raw: bytes

    def open(self) -> Pack:
        """Takes long, and memory for the images three times over. Raises ArchiveError."""
        size, numbers, images = open_pack(lambda _: self.key, self.ref.pack_id, self.raw, self.name)
        if size != self.page_size or len(numbers) != self.ref.pages:
            raise ArchiveError(f"{self.name}: it does not hold the pages that the manifest names")
        return Pack(self.name, size, numbers, images)


class Reader:
    """The archive of one database.

    Args:
        store: the archive.
        identity: opens the epochs; None where nothing sealed is asked for.
        verify_key: of the daemon that wrote it.
        database: the name that the archive must carry, None for any.
        threads: where packs are checked and opened; None for asyncio's own. Each takes memory for a pack
            several times over.

    Every method that fetches raises StoreError, and ArchiveError for what is missing, damaged, forged
    or not what was asked for; every one that opens, IdentityError where the identity is another's.
    """

    def __init__(
        self,
        store: Store,
        *,
        identity: Identity | None,
        verify_key: VerifyKey,
        database: str | None,
        threads: Executor | None = None,
    ) -> None:
        self._store = store
        self._identity = identity
        self._verify_key = verify_key
        self._database = database
        self._threads = threads
        self._keys: dict[tuple[str, int], EpochKey] = {}
        self._opening = asyncio.Lock()

    async def manifest(self, generation: str, seq: int) -> Manifest:
        """The manifest of a snapshot, its signature checked."""
        return read_manifest(
            await self.get(snapshot_name(generation, seq)),
            generation=generation,
            seq=seq,
            database=self._database,
            verify_key=self._verify_key,
        )

    async def digest(self, manifest: Manifest) -> Digest:
        """The digest of the database that the snapshot holds."""
        return manifest_digest(await self.key(manifest.generation, manifest.epoch), manifest)

    async def pack(self, manifest: Manifest, index: int) -> Pack:
        """`manifest.packs[index]`: the object that the manifest names, opened."""
        sealed = await self.sealed_pack(manifest, index)
        return await self._in_thread(sealed.open)

    async def sealed_pack(self, manifest: Manifest, index: int) -> SealedPack:
        """The same, not opened yet."""
        ref = manifest.packs[index]
        name = pack_name(manifest.generation, ref.pack_id)
        raw = await self.get(name)
        # First of all: a damaged header would have another epoch blamed.
        if len(raw) != ref.size or await self._in_thread(lambda: hashlib.sha256(raw).digest()) != ref.sha256:
            raise ArchiveError(f"{name}: it is not the pack that the manifest names")
        key = await self.key(manifest.generation, pack_epoch(raw, name))
        return SealedPack(name, ref, manifest.page_size, key, raw)

    async def bundle(self, generation: str, first_seq: int) -> Bundle:
        """A bundle, its signature checked; with an identity, the keys to `open` them are there then."""
        bundle = read_bundle(
            await self.get(deltas_name(generation, first_seq)),
            generation=generation,
            first_seq=first_seq,
            database=self._database,
            verify_key=self._verify_key,
        )
        if self._identity is not None:
            await self.learn(generation, {sealed.epoch for sealed in bundle.deltas})
        return bundle

    def open(self, generation: str, sealed: SealedDelta, predecessor: Digest) -> Delta:
        """A delta of a `bundle`, which must follow a database of digest `predecessor`. ArchiveError."""
        where = f"delta {sealed.seq} of generation {generation}"
        return open_delta(self._keys[generation, sealed.epoch], sealed, predecessor, where)

    async def learn(self, generation: str, epochs: Iterable[int]) -> None:
        """Fetch and open the keys of these epochs."""
        for number in epochs:
            await self.key(generation, number)

    async def key(self, generation: str, number: int) -> EpochKey:
        """The key of an epoch, fetched and opened at the first call."""
        if self._identity is None:
            raise IdentityError("what is sealed needs the recovery kit", hint="give it with --identity")
        if key := self._keys.get((generation, number)):
            return key
        async with self._opening:
            key = self._keys.get((generation, number))
            if key is None:
                key = self._keys[generation, number] = open_epoch(
                    await self.get(epoch_name(generation, number)),
                    database=self._database,
                    generation=generation,
                    identity=self._identity,
                    verify_key=self._verify_key,
                    number=number,
                )
        return key

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def get(self, name: str) -> bytes:
        """The bytes of an object, whatever they are."""
        try:
            return await self._store.get(name)
        except ObjectNotFound as e:
            raise ArchiveError(
                f"{name} is missing from {self._store.url}", hint="restore from another target"
            ) from e


def runs_by_pack(manifest: Manifest) -> list[NDArray[np.int64]]:
    """The runs of each pack as rows of first page, count, offset; in page order."""
    runs = manifest.runs
    first = np.cumsum(runs.counts) - runs.counts + 1
    order = np.argsort(runs.packs, kind="stable")
    rows = np.stack((first, runs.counts, runs.offsets), axis=1)[order]
    ends = np.searchsorted(runs.packs[order], np.arange(1, len(manifest.packs)))
    return np.split(rows, ends) if manifest.packs else []
