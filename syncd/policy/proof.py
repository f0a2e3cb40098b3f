"""What a verification found, what it proves, and where a chain of deltas has a hole. Pure.

- A finding is damage: somebody must act. A note is what may be damage or may be in order, and says both.
- A finding names one object, what is wrong with it, and what cannot be restored because of it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """`object` is a name in the archive; `affects` is empty where nothing that is kept needs it."""

    object: str
    problem: str
    affects: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the daemon's own state says that a target has: the last delta, and the newest snapshot."""

    generation: str
    seq: int
    snapshot: int


@dataclass(slots=True)
class Report:
    """What was looked at and what came out.

    `objects` were fetched, `bytes` in all; `packs_listed` were only seen in a listing. Of what is sealed,
    so many packs, deltas and snapshots' digests were opened (`snapshots_summed`: and every page counted).
    `compared`: its end is that which the daemon stored.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    generations: int = 0
    snapshots: int = 0
    packs: int = 0
    packs_listed: int = 0
    epochs: int = 0
    bundles: int = 0
    deltas: int = 0
    objects: int = 0
    bytes: int = 0
    packs_opened: int = 0
    deltas_opened: int = 0
    snapshots_summed: int = 0
    compared: bool = False


@dataclass(frozen=True, slots=True)
class Hole:
    """Deltas that no bundle holds: `lost` are needed, `unkept` are not, since a snapshot leads on.

    What is not kept was pruned, or a target was out of reach for long and began again with a snapshot.
    """

    unkept: range
    lost: range


def hole(after: int, until: int, snapshots: Sequence[int], last: int | None = None) -> Hole:
    """The deltas after+1 .. until-1, of which there is none. `snapshots` are seqs in ascending order.

    Where the bundle behind them, from `until` to `last`, reaches over a snapshot, none of them is needed; nor
    where it begins with a snapshot's own delta, which the snapshot overtook before a prune.
    """
    over = last is not None and bisect_left(snapshots, until) < bisect_left(snapshots, last)
    if over or (last is not None and until in snapshots):
        return Hole(range(after + 1, until), range(until, until))
    at = bisect_left(snapshots, until) - 1
    restart = snapshots[at] if at >= 0 and snapshots[at] > after else after
    return Hole(range(after + 1, restart + 1), range(restart + 1, until))


def positions_from(seq: int, snapshots: Sequence[int]) -> str:
    """What cannot be reached without the delta `seq`: up to the snapshot after it."""
    at = bisect_left(snapshots, seq)
    if at == len(snapshots):
        return f"positions from {seq} on"
    if snapshots[at] == seq:
        return f"position {seq} but for its snapshot"
    return span(seq, snapshots[at] - 1)


def span(first: int, last: int) -> str:
    """Positions as people read them."""
    return f"position {first}" if first == last else f"positions {first} to {last}"


def seqs_text(seqs: Sequence[int], most: int = 6) -> str:
    """Snapshots as people read them, the first few of many."""
    if not seqs:
        return ""
    shown = ", ".join(str(seq) for seq in seqs[:most])
    more = f" and {len(seqs) - most} more" if len(seqs) > most else ""
    return f"{'snapshot' if len(seqs) == 1 else 'snapshots'} {shown}{more}"


def what_is_proven(*, sample: float, quick: bool, compared: bool) -> tuple[str, ...]:
    """What a verification without findings proves, and what it does not, a sentence each."""
    lines = [
        "manifests, epochs and bundles: all fetched, their signatures and names are right",
        "deltas: none missing that a kept position needs",
        "packs: only listed, with the right size; that says nothing of their bytes"
        if quick and sample < 1
        else "packs: all fetched, size and SHA-256 as the signed manifests say",
    ]
    if not sample:
        lines.append(
            "not proven: that what is sealed opens, and follows from one delta to the next (--sample, --full)"
        )
    elif sample < 1:
        lines.append(
            f"opened: {sample:.3g} of 1 of the packs, and of the snapshots with the deltas behind them;"
            " each delta follows the digest before it"
        )
        lines.append("not proven: what is inside the others")
    else:
        lines.append(
            "opened: every delta follows the digest before it up to the next snapshot's; every pack;"
            " the pages of every snapshot have its digest"
        )
        lines.append("not proven: that applying the deltas gives those digests; a drill does that")
    lines.append(
        "the newest objects: everything that the daemon on this host stored is there"
        if compared
        else "not proven: that the newest objects were not all taken away; the daemon's host knows"
    )
    return tuple(lines)
