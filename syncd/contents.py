"""What an archive holds of one database, and which of it a restore reads.

- A manifest is read and its signature checked before it counts; a listing alone is not believed.
- A restore reads no more manifests than it needs to choose one: from the newest back.
- What lies under a name that syncd does not give is ignored, whoever put it there.
- What a prune takes away meanwhile was never there. No identity is needed.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from syncd.archive import read_manifest
from syncd.envelope.keys import VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint, ObjectNotFound
from syncd.format.names import (
    GENERATIONS,
    deltas_dir,
    is_generation,
    is_object,
    parse_seq,
    snapshot_name,
    snapshots_dir,
)
from syncd.model import format_time
from syncd.policy.plan import BundleEntry, Plan, SnapshotEntry, choose_snapshot, plan_from
from syncd.store.base import Store


@dataclass(frozen=True, slots=True)
class Contents:
    """Generations, complete snapshots and bundles of deltas, each in order.

    `damaged` says of each manifest that cannot be used why; the others stand for themselves.
    """

    generations: tuple[str, ...]
    snapshots: tuple[SnapshotEntry, ...]
    bundles: tuple[BundleEntry, ...]
    damaged: tuple[ArchiveError, ...] = ()


async def read_contents(store: Store, *, database: str | None, verify_key: VerifyKey) -> Contents:
    """List the archive and read its manifests. Raises StoreError, ArchiveError, NoRestorePoint."""
    generations = await _generations(store)
    snapshots: list[SnapshotEntry] = []
    bundles: list[BundleEntry] = []
    damaged: list[ArchiveError] = []
    for generation in generations:
        seqs = await _snapshots(store, generation)
        snapshots.extend(
            [e async for e in _read_each(store, generation, seqs, damaged, database, verify_key)]
        )
        bundles.extend(await _bundles(store, generation))
    if damaged and not snapshots:
        raise damaged[0]
    if not snapshots:
        raise NoRestorePoint(
            f"{store.url} holds no complete snapshot", hint="check the URL, and `syncd status` on the host"
        )
    return Contents(tuple(generations), tuple(snapshots), tuple(bundles), tuple(damaged))


async def find_plan(
    store: Store,
    *,
    database: str | None,
    verify_key: VerifyKey,
    at_ms: int | None = None,
    seq: int | None = None,
    generation: str | None = None,
) -> tuple[Plan, tuple[ArchiveError, ...]]:
    """What `plan_restore` chooses from `read_contents`, and the damaged manifests that were passed over.

    Reads manifests from the newest back until one fits, so mostly one. Where none does, all were read,
    and the error says what is kept. Raises StoreError, ArchiveError, NoRestorePoint.
    """
    damaged: list[ArchiveError] = []
    for each in reversed(await _generations(store)):
        if generation not in {None, each}:
            continue
        seqs = await _snapshots(store, each)
        wanted = [number for number in reversed(seqs) if seq is None or number <= seq]
        read: list[SnapshotEntry] = []
        async for entry in _read_each(store, each, wanted, damaged, database, verify_key):
            read.append(entry)
            if at_ms is None or entry.captured_ms <= at_ms:
                plan = plan_from(entry, read, await _bundles(store, each), at_ms=at_ms, seq=seq)
                return plan, tuple(damaged)
        if seq is not None and seqs:
            break  # a seq is one of the newest generation: whether this is it, its other manifests tell
    contents = await read_contents(store, database=database, verify_key=verify_key)
    return plan_restore(contents, at_ms=at_ms, seq=seq, generation=generation), contents.damaged


def plan_restore(
    contents: Contents, *, at_ms: int | None = None, seq: int | None = None, generation: str | None = None
) -> Plan:
    """Choose what to read; a seq without a generation is one of the newest. Raises NoRestorePoint."""
    snapshots = [s for s in contents.snapshots if generation in {None, s.generation}]
    if not snapshots:
        raise NoRestorePoint(f"there is no generation {generation}", hint="`syncd log` lists what is kept")
    if seq is not None and generation is None:
        newest = max(s.generation for s in snapshots)
        snapshots = [s for s in snapshots if s.generation == newest]
    chosen = choose_snapshot(snapshots, at_ms=at_ms, seq=seq)
    if chosen is None:
        first = min(snapshots, key=lambda s: (s.captured_ms, s.seq))
        asked = f"seq {seq}" if seq is not None else format_time(at_ms or 0)
        raise NoRestorePoint(
            f"nothing is kept as early as {asked}",
            hint=f"the first position is seq {first.seq} of {format_time(first.captured_ms)}",
        )
    return plan_from(chosen, snapshots, contents.bundles, at_ms=at_ms, seq=seq)


async def _generations(store: Store) -> list[str]:
    return sorted([name for name in await store.dirs(GENERATIONS) if is_generation(name)])


async def _snapshots(store: Store, generation: str) -> list[int]:
    """The seqs of the manifests that are listed, ascending."""
    return [
        parse_seq(info.name)
        async for info in store.objects(snapshots_dir(generation))
        if is_object(info.name)
    ]


async def _bundles(store: Store, generation: str) -> list[BundleEntry]:
    return [
        BundleEntry(generation, parse_seq(info.name), info.size, info.modified_ms)
        async for info in store.objects(deltas_dir(generation))
        if is_object(info.name)
    ]


async def _read_each(
    store: Store,
    generation: str,
    seqs: Iterable[int],
    damaged: list[ArchiveError],
    database: str | None,
    verify_key: VerifyKey,
) -> AsyncIterator[SnapshotEntry]:
    """These snapshots, in the order given; what cannot be used is added to `damaged`."""
    for seq in seqs:
        try:
            raw = await store.get(snapshot_name(generation, seq))
            m = read_manifest(raw, generation=generation, seq=seq, database=database, verify_key=verify_key)
        except ObjectNotFound:
            continue
        except ArchiveError as e:
            damaged.append(e)
            continue
        size = sum(pack.size for pack in m.packs)
        yield SnapshotEntry(generation, seq, m.captured_ms, m.page_size, m.page_count, size)
