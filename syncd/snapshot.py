"""A snapshot: the whole database at one position, as packs and a signed manifest.

- It ships the pages that changed since the last one, and those of packs that are given up; the others
  stay in the packs that the target has. Nothing is downloaded, no private key is needed.
- It reads a view of the shadow while capture goes on; nothing of the application is touched.
- Packs first, the manifest last: a snapshot without its manifest does not exist. What it had stored when
  it was interrupted is noted, and the next one makes use of it.
- Before it builds on packs, it looks whether they are there and stay there. Who may not look builds on
  those of the last complete snapshot only, which retention always keeps.
- A manifest that is there already is ours, from a snapshot whose answer was lost or whose process died
  then; otherwise another daemon writes here.
- In front of everything it creates, and behind the manifest, it looks whether it may still write there.
- Memory is bounded by a few packs.
"""

import asyncio
import hashlib
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from syncd.ahead import each
from syncd.archive import read_manifest, seal_manifest, seal_pack
from syncd.claims import Standing
from syncd.clock import to_completion
from syncd.envelope.epoch import EpochKey
from syncd.errors import ArchiveError, ConflictError, ObjectExists, ObjectUnread, StoreRefused
from syncd.format.manifest import Manifest, PackRef
from syncd.format.marks import Purpose, Range
from syncd.format.names import (
    PACK_ID_BYTES,
    epoch_name,
    epochs_dir,
    pack_name,
    packs_dir,
    parse_pack_id,
    snapshot_name,
)
from syncd.heap import roomy_heap
from syncd.log import Event
from syncd.lookback import note_gone
from syncd.marks import lease, tombstoned_names
from syncd.policy.packing import Numbers, Packing
from syncd.replica import Replica
from syncd.source.shadow import View
from syncd.state import Chain, Known, decode_changes
from syncd.store.base import Store

_PACK_BYTES: Final = 4 << 20
_PACK_LEVEL: Final = 3
_UNDER_WAY: Final = 3  # packs at once, being sealed or travelling
_SEALING: Final = 2  # of these: zstd takes most of a snapshot's time, and lets go of the interpreter
_LARGE_BYTES: Final = _PACK_BYTES // 2  # sealed; of these only two are under way, for the memory they take
_DEAD_SHARE: Final = 0.375


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `take_snapshot` stored: its position, pages in all, and what was shipped for it.

    `changed` pages had no image on the target, `moved` ones were in packs that were given up; `bytes` are
    those of the new packs and the manifest.
    """

    seq: int
    pages: int
    changed: int
    moved: int
    packs: int
    bytes: int


async def take_snapshot(
    replica: Replica, target: str, store: Store, standing: Standing, *, first: bool, reason: str
) -> Snapshot | None:
    """Store a snapshot of what the shadow holds now. Raises StoreError, ConflictError; then none counts.

    None where the shadow is not at a boundary just now. With `first`, deltas are kept for the target from
    this position on.
    """
    return await _Taking(replica, target, store, standing, first=first, reason=reason).run()


async def ship_epochs(
    replica: Replica, target: str, store: Store, generation: str, standing: Standing
) -> None:
    """Store the wrapped keys that the target lacks. Raises StoreError, ConflictError."""
    after = (await replica.state.target(target)).epoch
    for number, wrapped in await replica.state.epochs(after):
        name = epoch_name(generation, number)
        await standing.look()
        try:
            await store.put(name, wrapped)
        except ObjectExists as e:
            if await read_back(store, name) != wrapped:
                raise conflict(store, name) from e
        await replica.state.set_epoch(target, number)


async def read_back(store: Store, name: str) -> bytes:
    """What is there under a name that we wanted to create. Raises StoreError."""
    try:
        return await store.get(name)
    except StoreRefused as e:
        raise StoreRefused(
            f"{store.url}: {name} exists, and only a look can tell whether it is ours, from a shipment whose"
            " answer was lost, or another daemon's",
            hint="let the writer read its own objects, as `syncd policy writer` prints it; nothing is lost",
        ) from e


def conflict(store: Store, name: str) -> ConflictError:
    """An object is there under a name that only we should use."""
    return ConflictError(
        f"{store.url}: {name} was written by another daemon",
        hint="this one goes on in a generation of its own; stop the other one, or give it a name of its own",
    )


class _Taking:
    """One attempt."""

    def __init__(
        self, replica: Replica, target: str, store: Store, standing: Standing, *, first: bool, reason: str
    ) -> None:
        self._replica = replica
        self._target = target
        self._store = store
        self._standing = standing
        self._first = first
        self._reason = reason
        self._packs = 0
        self._bytes = 0

    async def run(self) -> Snapshot | None:
        replica = self._replica
        before = replica.chain
        if before is None:
            return None
        where = Range(before.generation, before.seq, before.seq)
        await self._standing.secure(before.generation)
        await self._standing.look()
        # Packs that no manifest needs yet are left alone while the lease lasts.
        async with lease(self._store, replica.clock, replica.name, Purpose.SNAPSHOT, [where]):
            return await self._run(before)

    async def _run(self, before: Chain) -> Snapshot | None:
        replica = self._replica
        known = await replica.state.snapshots.known(self._target, before.page_size)
        missing = await self._missing(before.generation, known)
        with ExitStack() as stack:
            async with replica.lock:
                chain = replica.chain
                if chain is None or not chain.boundary or not _alike(chain, before):
                    return None
                key = await replica.key()
                view = replica.shadow.view()
                stack.callback(view.close)
                changes = await replica.state.snapshots.changes(known.oldest)
                await replica.state.snapshots.begin(self._target, chain.seq, first=self._first)
            if self._first:
                await replica.state.set_target(self._target, "snapshot")
            packing = await asyncio.to_thread(_plan, chain, known, changes, missing)
            view.want(packing.needed)
            return await self._take(chain, view, key, packing)

    async def _take(self, chain: Chain, view: View, key: EpochKey, packing: Packing) -> Snapshot:
        replica = self._replica
        started = replica.clock.monotonic()
        changed, moved = packing.changed, packing.moved
        replica.log(
            Event.SNAPSHOT_STARTED,
            target=self._target,
            seq=chain.seq,
            pages=chain.page_count,
            changed=changed,
            moved=moved,
            reason=self._reason,
        )
        await ship_epochs(replica, self._target, self._store, chain.generation, self._standing)
        with roomy_heap():
            await self._ship_packs(chain, view, key, packing)
        manifest = await asyncio.to_thread(
            _manifest, chain, packing, database=replica.name, epoch=key.number, now_ms=replica.clock.now_ms()
        )
        await self._publish(key, chain, manifest)
        replica.log(
            Event.SNAPSHOT_STORED,
            target=self._target,
            seq=chain.seq,
            packs=self._packs,
            pages=chain.page_count,
            bytes=self._bytes,
            duration_ms=round((replica.clock.monotonic() - started) * 1000),
        )
        return Snapshot(chain.seq, chain.page_count, changed, moved, self._packs, self._bytes)

    async def _ship_packs(self, chain: Chain, view: View, key: EpochKey, packing: Packing) -> None:
        """The next packs are read and sealed while those before them travel."""
        sealing = asyncio.Semaphore(_SEALING)

        async def ship(numbers: Numbers) -> None:
            async with sealing:
                # Files must not be closed under a thread that still reads them.
                ref, raw = await to_completion(asyncio.to_thread(_seal, view, key, numbers))
                if is_large := ref.size > _LARGE_BYTES:
                    await self._ship_pack(chain, ref, raw, numbers)
            if not is_large:
                await self._ship_pack(chain, ref, raw, numbers)
            packing.add(ref, numbers)

        await each(packing.batches(), ship, most=_UNDER_WAY)

    async def _ship_pack(self, chain: Chain, ref: PackRef, raw: bytes, numbers: Numbers) -> None:
        await self._standing.look()
        with suppress(ObjectUnread):  # nobody else has this id: it is ours, from a put whose answer was lost
            await self._store.put(pack_name(chain.generation, ref.pack_id), raw)
        # What is stored is noted, also where another pack's failure ends this attempt.
        await to_completion(
            self._replica.state.snapshots.add_pack(
                self._target, ref, seq=chain.seq, page_size=chain.page_size, numbers=numbers
            )
        )
        self._packs += 1
        self._bytes += ref.size

    async def _publish(self, key: EpochKey, chain: Chain, manifest: Manifest) -> None:
        replica = self._replica
        raw = await asyncio.to_thread(seal_manifest, key, replica.sealing.signing_key, manifest, chain.digest)
        name = snapshot_name(chain.generation, chain.seq)
        await self._standing.look()
        try:
            await self._store.put(name, raw)
        except ObjectExists:
            raw = await read_back(self._store, name)
            manifest = self._ours(raw, manifest)
        self._bytes += len(raw)
        # Who takes over looks for manifests behind its claim: it saw ours, or we see it.
        await self._standing.look()
        await replica.state.snapshots.end(self._target, manifest, raw, replica.clock.now_ms())

    def _ours(self, raw: bytes, mine: Manifest) -> Manifest:
        """The manifest that is there already, if it says what `mine` says. Raises ConflictError.

        A copy of this state with another history is found out before: its epochs have the same numbers.
        """
        foreign = conflict(self._store, snapshot_name(mine.generation, mine.seq))
        try:
            there = read_manifest(
                raw,
                generation=mine.generation,
                seq=mine.seq,
                database=mine.database,
                verify_key=self._replica.sealing.signing_key.verify_key,
            )
        except ArchiveError as e:
            raise foreign from e
        if (there.captured_ms, there.page_size, there.page_count) != (
            mine.captured_ms,
            mine.page_size,
            mine.page_count,
        ):
            raise foreign
        return there

    async def _missing(self, generation: str, known: Known) -> frozenset[bytes]:
        """Packs that cannot be built on: gone, of another size, about to go, or nobody can open them."""
        base = {ref.pack_id: ref for ref in known.base.packs} if known.base else {}
        wanted = {pack.ref.pack_id: pack.ref for pack in known.packs} | base
        if not wanted:
            return frozenset()
        try:
            there = {
                parse_pack_id(info.name): info.size
                async for info in self._store.objects(packs_dir(generation))
            }
            epochs = {info.name async for info in self._store.objects(epochs_dir(generation))}
            going = await tombstoned_names(self._store)
        except StoreRefused:
            return frozenset(wanted) - base.keys()
        kept = await self._replica.state.epochs(0)  # these can be stored again
        epochs |= {epoch_name(generation, number) for number, _ in kept}
        gone = frozenset(
            pack_id
            for pack_id, ref in wanted.items()
            if there.get(pack_id) != ref.size or epoch_name(generation, ref.epoch) not in epochs
        )
        await self._tell(generation, gone & base.keys())
        return gone | {pack_id for pack_id in wanted if pack_name(generation, pack_id) in going}

    async def _tell(self, generation: str, gone: frozenset[bytes]) -> None:
        """The snapshot before cannot be restored. Where the target begins again, that was told."""
        if gone and not self._first:
            names = sorted(pack_name(generation, pack_id) for pack_id in gone)
            self._replica.log(Event.TARGET_LOST, target=self._target, missing=names)
            await note_gone(self._replica, self._target, names)


def _alike(chain: Chain, before: Chain) -> bool:
    """Whether what is known of the target's packs, from before the lock was taken, still applies."""
    return (chain.generation, chain.page_size) == (before.generation, before.page_size)


def _plan(chain: Chain, known: Known, changes: list[tuple[int, bytes]], missing: frozenset[bytes]) -> Packing:
    return Packing(
        chain.page_count,
        full=max(1, _PACK_BYTES // chain.page_size) if chain.page_size else 1,
        base=known.base,
        known=known.packs,
        changes=decode_changes(changes),
        missing=missing,
        dead_share=_DEAD_SHARE,
    )


def _manifest(chain: Chain, packing: Packing, *, database: str, epoch: int, now_ms: int) -> Manifest:
    packs, runs = packing.result()
    return Manifest(
        database=database,
        generation=chain.generation,
        seq=chain.seq,
        epoch=epoch,
        captured_ms=chain.captured_ms,
        created_ms=now_ms,
        page_size=chain.page_size,
        page_count=chain.page_count,
        packs=packs,
        runs=runs,
    )


def _seal(view: View, key: EpochKey, numbers: Numbers) -> tuple[PackRef, bytes]:
    pages = numbers.tolist()
    pack_id = os.urandom(PACK_ID_BYTES)
    raw = seal_pack(key, pack_id, view.page_size, pages, view.read(pages), _PACK_LEVEL)
    return PackRef(pack_id, len(raw), hashlib.sha256(raw).digest(), len(pages), key.number), raw
