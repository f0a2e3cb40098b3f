"""An archive as retention sees it: one listing, and every manifest read and checked.

- No identity is needed.
- What is in the store under a name that is not one of ours is left out.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from syncd.ahead import each
from syncd.archive import read_bundle, read_manifest
from syncd.envelope.keys import VerifyKey
from syncd.errors import ArchiveError, ObjectNotFound
from syncd.format import bundle as format_bundle
from syncd.format.manifest import Manifest
from syncd.format.names import (
    GENERATIONS,
    is_object,
    parse_epoch,
    parse_pack_id,
    parse_seq,
    snapshots_dir,
)
from syncd.policy.inventory import Bundle, Epoch, Inventory, Pack, Snapshot, Unreadable
from syncd.store.base import ObjectInfo, Store


@dataclass(slots=True)
class Manifests:
    """Manifests as they are read: usable ones, and the others with why."""

    snapshots: list[Snapshot] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    errors: list[ArchiveError] = field(default_factory=list)


async def read_inventory(store: Store, *, database: str, verify_key: VerifyKey) -> Inventory:
    """Everything but the marks. Raises StoreError; damaged manifests are told in the result."""
    listed: dict[str, list[ObjectInfo]] = {"snapshots": [], "deltas": [], "packs": [], "epochs": []}
    async for info in _ours(store, GENERATIONS):
        listed[info.name.split("/")[2]].append(info)
    sizes = {(_of(info), parse_pack_id(info.name)): info.size for info in listed["packs"]}
    found = await _read_manifests(store, listed["snapshots"], database, verify_key, sizes)
    return Inventory(
        tuple(found.snapshots),
        tuple(found.unreadable),
        tuple(Bundle(_of(i), parse_seq(i.name), i.size, i.modified_ms) for i in listed["deltas"]),
        tuple(Pack(_of(i), parse_pack_id(i.name), i.size, i.modified_ms) for i in listed["packs"]),
        tuple(Epoch(_of(i), parse_epoch(i.name), i.size, i.modified_ms) for i in listed["epochs"]),
    )


async def read_snapshots(store: Store, generation: str, *, database: str, verify_key: VerifyKey) -> Manifests:
    """The manifests of one generation as they are now. Raises StoreError."""
    listed = [info async for info in _ours(store, snapshots_dir(generation))]
    return await _read_manifests(store, listed, database, verify_key)


async def read_ends(
    store: Store, bundles: Iterable[Bundle], *, database: str, verify_key: VerifyKey
) -> Mapping[str, int]:
    """The last seq in the last bundle of each generation. Raises StoreError, ArchiveError."""
    last: dict[str, Bundle] = {}
    for bundle in sorted(bundles, key=lambda b: b.first_seq):
        last[bundle.generation] = bundle
    return {
        generation: (await _read(store, bundle, database, verify_key)).last_seq
        for generation, bundle in last.items()
    }


async def read_bundles(
    store: Store, inventory: Inventory, bundles: Iterable[Bundle], *, database: str, verify_key: VerifyKey
) -> Inventory:
    """The inventory with last seqs and epochs of these bundles. Raises StoreError.

    What is damaged, or went since it was listed, stays as it is.
    """
    known: dict[Bundle, Bundle] = {}
    for bundle in bundles:
        with suppress(ArchiveError, ObjectNotFound):
            read = await _read(store, bundle, database, verify_key)
            epochs = (read.deltas[0].epoch, read.deltas[-1].epoch) if read.deltas else None
            known[bundle] = replace(bundle, last_seq=read.last_seq, epochs=epochs)
    return replace(inventory, bundles=tuple(known.get(b, b) for b in inventory.bundles))


async def _read(store: Store, bundle: Bundle, database: str, verify_key: VerifyKey) -> format_bundle.Bundle:
    return read_bundle(
        await store.get(bundle.name),
        generation=bundle.generation,
        first_seq=bundle.first_seq,
        database=database,
        verify_key=verify_key,
    )


async def _read_manifests(
    store: Store,
    listed: Iterable[ObjectInfo],
    database: str,
    verify_key: VerifyKey,
    sizes: Mapping[tuple[str, bytes], int] | None = None,
) -> Manifests:
    """`sizes` are those of the packs as listed; with them, a manifest's packs are looked for."""
    found = Manifests()

    async def read(info: ObjectInfo) -> None:
        generation, seq = _of(info), parse_seq(info.name)
        try:
            raw = await store.get(info.name)
        except ObjectNotFound:
            return  # it went since it was listed
        try:
            m = await asyncio.to_thread(
                read_manifest, raw, generation=generation, seq=seq, database=database, verify_key=verify_key
            )
        except ArchiveError as e:
            found.unreadable.append(Unreadable(generation, seq, info.size, info.modified_ms, _why(e, info)))
            found.errors.append(e)
            return
        packs = frozenset(pack.pack_id for pack in m.packs)
        epochs = frozenset({m.epoch, *(pack.epoch for pack in m.packs)})
        flaw = "" if sizes is None else _flaw(m, sizes)
        found.snapshots.append(
            Snapshot(generation, seq, m.captured_ms, info.size, info.modified_ms, packs, epochs, flaw)
        )

    await each(listed, read)
    return found


def _flaw(manifest: Manifest, sizes: Mapping[tuple[str, bytes], int]) -> str:
    """What the listing says is wrong with the packs of a snapshot; empty where nothing is."""
    found = [(pack, sizes.get((manifest.generation, pack.pack_id))) for pack in manifest.packs]
    wrong = [(pack, size) for pack, size in found if size != pack.size]
    if not wrong:
        return ""
    pack, size = wrong[0]
    what = "is missing" if size is None else f"has {size} bytes, not {pack.size}"
    more = f", and {len(wrong) - 1} more are wrong" if len(wrong) > 1 else ""
    return f"pack {pack.pack_id.hex()} {what}{more}"


def _why(error: ArchiveError, info: ObjectInfo) -> str:
    return error.message.removeprefix(f"{info.name}: ")


async def _ours(store: Store, prefix: str) -> AsyncIterator[ObjectInfo]:
    async for info in store.objects(prefix):
        if is_object(info.name):
            yield info


def _of(info: ObjectInfo) -> str:
    return info.name.split("/")[1]
