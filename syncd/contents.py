"""What an archive holds of one database, and which of it a restore reads.

- A manifest is read and its signature checked before it counts; a listing alone is not believed.
- A restore reads no more manifests than it needs to choose one: from the newest back.
- The newest generation is the one that the store received something of last; names only break ties. One that
  was closed is older than those that were not, whenever that was done.
- What lies under a name that syncd does not give is ignored, whoever put it there.
- What a prune takes away meanwhile was never there. No identity is needed.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace

from syncd.archive import read_bundle, read_manifest
from syncd.envelope.keys import VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint, ObjectNotFound
from syncd.format.bundle import MAX_CLOSING_BYTES
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
from syncd.policy.plan import (
    BundleEntry,
    Plan,
    SnapshotEntry,
    choose_snapshot,
    in_order,
    passed_over,
    plan_from,
)
from syncd.store.base import Store


@dataclass(frozen=True, slots=True)
class Contents:
    """Generations, complete snapshots and bundles of deltas, each in order.

    `damaged` says of each manifest that cannot be used why; the others stand for themselves. `stored_ms`
    tells when the store received something of a generation last, `closed` has those that were taken over.
    """

    generations: tuple[str, ...]
    snapshots: tuple[SnapshotEntry, ...]
    bundles: tuple[BundleEntry, ...]
    damaged: tuple[ArchiveError, ...] = ()
    stored_ms: Mapping[str, int] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Listed:
    """One generation as it is listed: seqs of the manifests, ascending, and bundles that have deltas."""

    seqs: list[int]
    bundles: list[BundleEntry]
    stored_ms: int
    closed: bool


async def read_contents(store: Store, *, database: str | None, verify_key: VerifyKey) -> Contents:
    """List the archive and read its manifests. Raises StoreError, ArchiveError, NoRestorePoint."""
    listed = await _list(store, database, verify_key)
    snapshots: list[SnapshotEntry] = []
    bundles: list[BundleEntry] = []
    damaged: list[ArchiveError] = []
    for generation, there in listed.items():
        snapshots.extend(
            [e async for e in _read_each(store, generation, there.seqs, damaged, database, verify_key)]
        )
        bundles.extend(there.bundles)
    if damaged and not snapshots:
        raise damaged[0]
    if not snapshots:
        raise NoRestorePoint(
            f"{store.url} holds no complete snapshot", hint="check the URL, and `syncd status` on the host"
        )
    stored_ms = {generation: there.stored_ms for generation, there in listed.items()}
    return Contents(
        tuple(listed), tuple(snapshots), tuple(bundles), tuple(damaged), stored_ms, _closed(listed)
    )


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
    listed = await _list(store, database, verify_key, generation)
    closed = _closed(listed)
    order = in_order((g for g in listed if listed[g].seqs), {g: listed[g].stored_ms for g in listed}, closed)
    for each in reversed(order):
        wanted = [number for number in reversed(listed[each].seqs) if seq is None or number <= seq]
        read: list[SnapshotEntry] = []
        async for entry in _read_each(store, each, wanted, damaged, database, verify_key):
            read.append(entry)
            if at_ms is None or entry.captured_ms <= at_ms:
                plan = plan_from(entry, read, listed[each].bundles, at_ms=at_ms, seq=seq)
                return replace(plan, passed_over=passed_over(order, each, at_ms, closed)), tuple(damaged)
        if seq is not None:
            break  # a seq is one of the newest generation: whether this is it, its other manifests tell
    contents = await read_contents(store, database=database, verify_key=verify_key)
    return plan_restore(contents, at_ms=at_ms, seq=seq, generation=generation), contents.damaged


def plan_restore(
    contents: Contents, *, at_ms: int | None = None, seq: int | None = None, generation: str | None = None
) -> Plan:
    """Choose what to read; a seq without a generation is one of the newest. Raises NoRestorePoint."""
    snapshots = [s for s in contents.snapshots if generation in {None, s.generation}]
    order = in_order({s.generation for s in snapshots}, contents.stored_ms, contents.closed)
    if not snapshots:
        raise NoRestorePoint(f"there is no generation {generation}", hint="`syncd log` lists what is kept")
    if seq is not None and generation is None:
        snapshots = [s for s in snapshots if s.generation == order[-1]]
    chosen = choose_snapshot(
        snapshots, at_ms=at_ms, seq=seq, stored_ms=contents.stored_ms, closed=contents.closed
    )
    if chosen is None:
        first = min(snapshots, key=lambda s: (s.captured_ms, s.seq))
        asked = f"seq {seq}" if seq is not None else format_time(at_ms or 0)
        raise NoRestorePoint(
            f"nothing is kept as early as {asked}",
            hint=f"the first position is seq {first.seq} of {format_time(first.captured_ms)}",
        )
    plan = plan_from(chosen, snapshots, contents.bundles, at_ms=at_ms, seq=seq)
    return replace(plan, passed_over=passed_over(order, chosen.generation, at_ms, contents.closed))


async def _list(
    store: Store, database: str | None, verify_key: VerifyKey, generation: str | None = None
) -> dict[str, _Listed]:
    """Every generation, or one, by name."""
    names = sorted([name for name in await store.dirs(GENERATIONS) if is_generation(name)])
    return {
        name: await _list_one(store, name, database, verify_key)
        for name in names
        if generation in {None, name}
    }


async def _list_one(store: Store, generation: str, database: str | None, verify_key: VerifyKey) -> _Listed:
    snapshots = [i async for i in store.objects(snapshots_dir(generation)) if is_object(i.name)]
    listed = [i async for i in store.objects(deltas_dir(generation)) if is_object(i.name)]
    closings = {
        info.name
        for info in listed
        if info.size <= MAX_CLOSING_BYTES
        and await _is_closing(store, info.name, generation, database, verify_key)
    }
    deltas = [info for info in listed if info.name not in closings]
    return _Listed(
        [parse_seq(info.name) for info in snapshots],
        [BundleEntry(generation, parse_seq(info.name), info.size, info.modified_ms) for info in deltas],
        max([info.modified_ms for info in (*snapshots, *deltas)], default=0),
        closed=bool(closings),
    )


async def _is_closing(
    store: Store, name: str, generation: str, database: str | None, verify_key: VerifyKey
) -> bool:
    """Whether a small bundle ends its generation; its size alone could be anybody's doing."""
    try:
        bundle = read_bundle(
            await store.get(name),
            generation=generation,
            first_seq=parse_seq(name),
            database=database,
            verify_key=verify_key,
        )
    except (ArchiveError, ObjectNotFound):
        return False  # named where it is needed
    return not bundle.deltas


def _closed(listed: Mapping[str, _Listed]) -> frozenset[str]:
    return frozenset(generation for generation, there in listed.items() if there.closed)


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
