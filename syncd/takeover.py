"""Taking an archive over: the generations that others write are closed, each at its end.

- A closing is a bundle without deltas, created under the name that the next bundle of its generation would
  have. So whoever writes it meets the closing there, or was quicker: then the end is looked for again.
- It is called behind the claim that takes over: who finds that claim ends its snapshot, and ships no delta
  behind it. So every manifest that deltas may follow is there when the end is looked for.
- The next bundle follows the last one; or a snapshot behind it, where the target was out of reach for long.
  Both names are used up.
- Needs a listing, which the writer may not: another role's store does that. Nothing is deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from syncd.archive import read_bundle, read_manifest, sign_bundle
from syncd.claims import Standing
from syncd.envelope.keys import SigningKey
from syncd.errors import ArchiveError, ObjectExists, ObjectNotFound, StoreUnavailable
from syncd.format.bundle import Bundle
from syncd.format.names import (
    GENERATIONS,
    deltas_dir,
    deltas_name,
    is_generation,
    is_object,
    parse_seq,
    snapshot_name,
    snapshots_dir,
)
from syncd.log import Event
from syncd.replica import Replica, new_generation
from syncd.store.base import Store

_TRIES: Final = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """The number of the claim; generations that are closed, and those whose end cannot be read, with why."""

    claim: int
    closed: tuple[str, ...]
    left: tuple[tuple[str, ArchiveError], ...]


async def take_over(replica: Replica, target: str, store: Store, standing: Standing, listing: Store) -> Taken:
    """End what other daemons claimed of a target: whoever opens the replica again begins a new generation.

    `listing` is the same archive, for a role that may list. Raises StoreError, ArchiveClaimed; then it can
    be repeated, and nothing is written there before it was.
    """
    generation = replica.chain.generation if replica.chain else new_generation(replica.clock.now_ms())
    number = await standing.take_over(generation)
    taken = await complete(replica, target, store, listing, number)
    await standing.settle(number)
    return taken


async def complete(replica: Replica, target: str, store: Store, listing: Store, number: int) -> Taken:
    """Close what the claim `number` of this place took over; can be repeated. Raises StoreError."""
    closed, left = await close_generations(
        listing, store, database=replica.name, signing_key=replica.sealing.signing_key
    )
    replica.log(
        Event.TARGET_TAKEN_OVER,
        target=target,
        claim=number,
        closed=list(closed),
        left=[generation for generation, _ in left],
    )
    return Taken(number, closed, left)


async def close_generations(
    listing: Store, writer: Store, *, database: str, signing_key: SigningKey
) -> tuple[tuple[str, ...], tuple[tuple[str, ArchiveError], ...]]:
    """Close every generation of an archive: which are closed, and which are not. Raises StoreError."""
    closing = _Closing(listing, writer, database, signing_key)
    closed: list[str] = []
    left: list[tuple[str, ArchiveError]] = []
    for generation in filter(is_generation, await listing.dirs(GENERATIONS)):
        try:
            await closing.close(generation)
        except ArchiveError as e:
            left.append((generation, e))
        else:
            closed.append(generation)
    return tuple(closed), tuple(left)


class _Closing:
    """See `close_generations`."""

    def __init__(self, listing: Store, writer: Store, database: str, signing_key: SigningKey) -> None:
        self._listing, self._writer = listing, writer
        self._database, self._signing_key = database, signing_key

    async def close(self, generation: str) -> None:
        """Until every name that a next bundle could have is that of a closing."""
        for _ in range(_TRIES):
            try:
                if not await self._close_once(generation):
                    return
            except (ObjectExists, ObjectNotFound):
                continue  # its daemon was quicker, or a prune
        raise StoreUnavailable(f"{self._listing.url}: generation {generation} goes on all the time")

    async def _close_once(self, generation: str) -> bool:
        """Whether something had to be closed."""
        firsts = await self._seqs(deltas_dir(generation))
        seqs = await self._seqs(snapshots_dir(generation))
        ends = await self._ends(generation, firsts, seqs)
        for seq, captured_ms in ends.items():
            closing = Bundle(self._database, generation, captured_ms, (), closes=seq)
            await self._writer.put(deltas_name(generation, seq), sign_bundle(self._signing_key, closing))
        return bool(ends)

    async def _ends(self, generation: str, firsts: Sequence[int], seqs: Sequence[int]) -> dict[int, int]:
        """Where a next bundle could begin and no closing is, and when the state before it was captured."""
        closings: set[int] = set()
        ends: dict[int, int] = {}
        last = -1
        for first in reversed(firsts):
            bundle = await self._bundle(generation, first)
            if bundle.deltas:
                last = bundle.last_seq
                ends[last + 1] = bundle.captured_ms
                break
            closings.add(first)
        for seq in seqs:
            if seq > last and seq + 1 not in closings:
                ends[seq + 1] = await self._captured_ms(generation, seq)
        return {seq: ms for seq, ms in ends.items() if seq not in closings}

    async def _seqs(self, prefix: str) -> list[int]:
        names = [info.name async for info in self._listing.objects(prefix)]
        return sorted(parse_seq(name) for name in names if is_object(name))

    async def _bundle(self, generation: str, first: int) -> Bundle:
        return read_bundle(
            await self._listing.get(deltas_name(generation, first)),
            generation=generation,
            first_seq=first,
            database=self._database,
            verify_key=self._signing_key.verify_key,
        )

    async def _captured_ms(self, generation: str, seq: int) -> int:
        manifest = read_manifest(
            await self._listing.get(snapshot_name(generation, seq)),
            generation=generation,
            seq=seq,
            database=self._database,
            verify_key=self._signing_key.verify_key,
        )
        return manifest.captured_ms
