"""Which ranges a hold needs for what somebody wants to keep. Pure.

- What an inventory does not have cannot be held: NoRestorePoint.
"""

from collections.abc import Collection, Mapping
from itertools import groupby

from syncd.errors import NoRestorePoint
from syncd.format.marks import Range
from syncd.model import format_time
from syncd.policy.inventory import Bundle, Inventory, Snapshot


def ranges_of(inventory: Inventory, names: Collection[str]) -> list[Range]:
    """Ranges that hold the snapshots and bundles of these names, and what they follow."""
    ranges: list[Range] = []
    points = (o for o in inventory.objects if isinstance(o, Snapshot | Bundle))
    order = sorted(points, key=lambda o: (o.generation, _seq(o)))
    for (generation, wanted), run in groupby(order, key=lambda o: (o.generation, o.name in names)):
        if wanted:
            seqs = [_seq(each) for each in run]
            ranges.append(Range(generation, seqs[0], seqs[-1]))
    return ranges


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


def _seq(point: Snapshot | Bundle) -> int:
    return point.seq if isinstance(point, Snapshot) else point.first_seq
