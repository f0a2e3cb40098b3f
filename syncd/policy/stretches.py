"""An archive in stretches: a snapshot, and the deltas behind it up to the next one. Pure.

- A bundle belongs to the last snapshot in front of its last delta: one that reaches over a snapshot is
  needed behind it.
- What goes of a stretch goes from its end, and the snapshot last. So what stays is at any moment a snapshot
  and an unbroken run of deltas; a gap ends in front of the delta behind a snapshot, or of a bundle that
  reaches over one.
- The names of bundles tell where each begins. Where it matters where one ends, it has to be read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from syncd.format.names import MAX_SEQ
from syncd.policy.inventory import Bundle, Inventory, Snapshot


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bundles are in order, with the last seq of each. Where none is in front of them, `snapshot` is None."""

    generation: str
    snapshot: Snapshot | None
    bundles: tuple[Bundle, ...]
    ends: tuple[int, ...]


def stretches(there: Inventory) -> list[Stretch]:
    """All of them, by generation and seq."""
    found: list[Stretch] = []
    for snapshots, bundles in _by_generation(there):
        seqs = [snapshot.seq for snapshot in snapshots]
        lasts = ends(bundles)
        start = 0
        for index, snapshot in enumerate([None, *snapshots]):
            stop = len(bundles) if index == len(seqs) else bisect_right(lasts, seqs[index])
            mine = bundles[start:stop]
            if snapshot is not None or mine:
                generation = (snapshot or mine[0]).generation
                found.append(Stretch(generation, snapshot, tuple(mine), tuple(lasts[start:stop])))
            start = stop
    return found


def ends(bundles: Sequence[Bundle]) -> list[int]:
    """The last seq that each of one generation's bundles, in order, can hold."""
    by_name = [*(bundle.first_seq - 1 for bundle in bundles[1:]), MAX_SEQ][: len(bundles)]
    return [
        end if bundle.last_seq is None else bundle.last_seq
        for bundle, end in zip(bundles, by_name, strict=True)
    ]


def doubtful(there: Inventory) -> list[Bundle]:
    """Those of which names do not tell whether they reach over a snapshot."""
    found: list[Bundle] = []
    for snapshots, bundles in _by_generation(there):
        seqs = [snapshot.seq for snapshot in snapshots]
        for bundle, end in zip(bundles, ends(bundles), strict=True):
            if bundle.last_seq is None and bisect_left(seqs, bundle.first_seq) < bisect_left(seqs, end):
                found.append(bundle)
    return found


def open_ended(there: Inventory) -> list[Bundle]:
    """Those that are doubtful, or the last of their generation."""
    last = [bundles[-1] for _, bundles in _by_generation(there) if bundles and bundles[-1].last_seq is None]
    return list(dict.fromkeys([*doubtful(there), *last]))


def _by_generation(there: Inventory) -> list[tuple[list[Snapshot], list[Bundle]]]:
    found: dict[str, tuple[list[Snapshot], list[Bundle]]] = {}
    for snapshot in sorted(there.snapshots, key=lambda s: (s.generation, s.seq)):
        found.setdefault(snapshot.generation, ([], []))[0].append(snapshot)
    for bundle in sorted(there.bundles, key=lambda b: (b.generation, b.first_seq)):
        found.setdefault(bundle.generation, ([], []))[1].append(bundle)
    return [found[generation] for generation in sorted(found)]
