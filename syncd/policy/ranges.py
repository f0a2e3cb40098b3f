"""Which ranges a hold needs for what somebody wants to keep. Pure.

- What an inventory does not have cannot be held: NoRestorePoint.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from syncd.errors import NoRestorePoint
from syncd.format.marks import Range
from syncd.format.names import MAX_SEQ
from syncd.model import format_time
from syncd.policy.inventory import Bundle, Inventory, Snapshot
from syncd.policy.stretches import stretches

_NOWHERE: Final = -2  # the delta 0 does not follow it


def ranges_of(inventory: Inventory, names: Collection[str]) -> list[Range]:
    """Ranges that hold the snapshots and bundles of these names, and what they follow.

    A bundle is held to its end; the last of its generation has to be read for that, else only its first seq
    is. Positions to which no snapshot leads are left out.
    """
    ranges: list[Range] = []
    for each, found in _reached(inventory):
        if each.name not in names:
            continue
        last = ranges[-1] if ranges else None
        if last and last.generation == found.generation and found.first_seq <= last.last_seq + 1:
            ranges[-1] = replace(last, last_seq=max(last.last_seq, found.last_seq))
        else:
            ranges.append(found)
    return ranges


def _reached(inventory: Inventory) -> Iterator[tuple[Snapshot | Bundle, Range]]:
    """Snapshots and bundles in order, each with the positions of it that can be restored."""
    of, reached = "", _NOWHERE
    for stretch in stretches(inventory):
        if stretch.generation != of:
            of, reached = stretch.generation, _NOWHERE
        base = stretch.snapshot.seq if stretch.snapshot else _NOWHERE
        if stretch.snapshot:
            yield stretch.snapshot, Range(of, base, base)
        for bundle, end in zip(stretch.bundles, stretch.ends, strict=True):
            if bundle.first_seq > max(base, reached) + 1:
                continue
            follows = bundle.first_seq <= reached + 1
            first = bundle.first_seq if follows else max(base, bundle.first_seq)
            yield bundle, Range(of, first, first if end == MAX_SEQ else end)
            reached = end


def everything(inventory: Inventory, ends: Mapping[str, int]) -> list[Range]:
    """Every position that can be restored now. `ends` has the last seq of each generation with bundles."""
    firsts: dict[str, list[int]] = {}
    for snapshot in inventory.snapshots:
        firsts.setdefault(snapshot.generation, []).append(snapshot.seq)
    if not firsts:
        raise NoRestorePoint("there is no complete snapshot", hint="`syncd log` lists what is kept")
    return [
        Range(generation, min(seqs), max(*seqs, ends.get(generation, 0), 0))
        for generation, seqs in sorted(firsts.items())
    ]


def position(inventory: Inventory, seq: int, ends: Mapping[str, int]) -> list[Range]:
    """One seq of the newest generation that has a snapshot. Raises NoRestorePoint."""
    newest = everything(inventory, ends)[-1]
    if not newest.first_seq <= seq <= newest.last_seq:
        raise NoRestorePoint(
            f"seq {seq} is not kept", hint=f"seqs {newest.first_seq} to {newest.last_seq} are"
        )
    return [Range(newest.generation, seq, seq)]


def moment(inventory: Inventory, at_ms: int, ends: Mapping[str, int]) -> list[Range]:
    """The positions among which the one of a moment is: from one snapshot to the next.

    When a delta was made is known only to who can open it. Raises NoRestorePoint.
    """
    order = sorted(inventory.snapshots, key=lambda s: (s.generation, s.seq))
    before = [s for s in order if s.captured_ms <= at_ms]
    if not before:
        raise NoRestorePoint(
            f"nothing is kept as early as {format_time(at_ms)}", hint="`syncd log` lists what is kept"
        )
    chosen = before[-1]
    later = [s.seq for s in order if s.generation == chosen.generation and s.seq > chosen.seq]
    end = min(later, default=max(chosen.seq, ends.get(chosen.generation, 0)))
    return [Range(chosen.generation, chosen.seq, end)]
