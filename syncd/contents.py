"""What an archive holds of one database, and which of it a restore reads.

- A manifest is read and its signature checked before it counts; a listing alone is not believed.
- No identity is needed.
"""

from dataclasses import dataclass

from syncd.archive import read_manifest
from syncd.envelope.keys import VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint
from syncd.format.names import GENERATIONS, deltas_dir, parse_generation, parse_seq, snapshots_dir
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
    generations = sorted(parse_generation(name) for name in await store.dirs(GENERATIONS))
    snapshots: list[SnapshotEntry] = []
    bundles: list[BundleEntry] = []
    damaged: list[ArchiveError] = []
    for generation in generations:
        async for info in store.objects(snapshots_dir(generation)):
            seq = parse_seq(info.name)
            raw = await store.get(info.name)
            try:
                m = read_manifest(
                    raw, generation=generation, seq=seq, database=database, verify_key=verify_key
                )
            except ArchiveError as e:
                damaged.append(e)
                continue
            size = sum(pack.size for pack in m.packs)
            snapshots.append(SnapshotEntry(generation, seq, m.captured_ms, m.page_size, m.page_count, size))
        bundles.extend(
            [
                BundleEntry(generation, parse_seq(info.name), info.size, info.modified_ms)
                async for info in store.objects(deltas_dir(generation))
            ]
        )
    if damaged and not snapshots:
        raise damaged[0]
    if not snapshots:
        raise NoRestorePoint(
            f"{store.url} holds no complete snapshot", hint="check the URL, and `syncd status` on the host"
        )
    return Contents(tuple(generations), tuple(snapshots), tuple(bundles), tuple(damaged))


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
