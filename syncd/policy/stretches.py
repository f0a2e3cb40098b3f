"""An archive in stretches: a snapshot, and the deltas behind it up to the next one. Pure.

- A bundle belongs to the last snapshot in front of its last delta: one that reaches over a snapshot is
  needed behind it.
- What goes of a stretch goes from its end, and the snapshot last. So what stays is at any moment a snapshot
  and an unbroken run of deltas; a gap ends in front of the delta behind a snapshot, or of a bundle that
  reaches over one.
- The names of bundles tell where each begins. Where it matters where one ends, it has to be read.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from syncd.format.names import MAX_SEQ
from syncd.policy.inventory import Bundle, Inventory, Snapshot


@dataclass(frozen=True, slots=True)
class Stretch:
    """The snapshot is None where bundles have none in front of them. Bundles are in order."""

    snapshot: Snapshot | None
    bundles: tuple[Bundle, ...]


def stretches(there: Inventory) -> list[Stretch]:
    """All of them, by generation and seq."""
    found: list[Stretch] = []
    for snapshots, bundles in _by_generation(there):
        seqs = [snapshot.seq for snapshot in snapshots]
        behind: list[list[Bundle]] = [[] for _ in range(len(seqs) + 1)]
        for bundle, end in zip(bundles, ends(bundles), strict=True):
            behind[bisect_left(seqs, end)].append(bundle)
        of = [None, *snapshots]
        found += [Stretch(s, tuple(b)) for s, b in zip(of, behind, strict=True) if s is not None or b]
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


def _by_generation(there: Inventory) -> list[tuple[list[Snapshot], list[Bundle]]]:
    found: dict[str, tuple[list[Snapshot], list[Bundle]]] = {}
    for snapshot in sorted(there.snapshots, key=lambda s: (s.generation, s.seq)):
        found.setdefault(snapshot.generation, ([], []))[0].append(snapshot)
    for bundle in sorted(there.bundles, key=lambda b: (b.generation, b.first_seq)):
        found.setdefault(bundle.generation, ([], []))[1].append(bundle)
    return [found[generation] for generation in sorted(found)]
