"""Which objects a restore reads. Pure: from listings to names.

- A snapshot at seq S holds the database after delta S; deltas follow it without a gap.
- Of several snapshots that will do, the newest is taken: fewer deltas to apply.
- A bundle is known by its first seq; where it ends, the next one begins.
- A target that was out of use begins again with a snapshot, and retention removes deltas in front of one:
  a gap is in order that ends where a snapshot leads on, or a bundle that reaches over one. Any other is
  damage. Whoever restores across a gap is told.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from syncd.format.names import generation_ms


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """A manifest that was read and whose signature is right."""

    generation: str
    seq: int
    captured_ms: int
    page_size: int
    page_count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A bundle of deltas, as listed."""

    generation: str
    first_seq: int
    bytes: int
    stored_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A snapshot, the bundles to apply after it in order, and where to stop.

    `at_ms` and `seq` are what was asked for, None for the newest. `later` has the seqs of the snapshots
    after the chosen one in its generation, as far as they are known, ascending. `passed_over` is a
    generation with a later name, of which the store received nothing for longer.
    """

    snapshot: SnapshotEntry
    bundles: tuple[BundleEntry, ...]
    at_ms: int | None
    seq: int | None
    later: tuple[int, ...]
    passed_over: str | None = None

    @property
    def bytes(self) -> int:
        """What has to be fetched."""
        return self.snapshot.bytes + sum(bundle.bytes for bundle in self.bundles)

    @property
    def next_snapshot(self) -> int | None:
        """The seq of the snapshot after the chosen one."""
        return self.later[0] if self.later else None

    def wants(self, seq: int) -> bool:
        """Whether a delta of this seq may belong to what was asked for."""
        return self.seq is None or seq <= self.seq

    def allows_gap(self, after: int, first: int, last: int) -> bool:
        """Whether the deltas between `after` and a bundle from `first` to `last` may be missing.

        They may where a snapshot behind `after` leads on to that bundle, or the bundle reaches over it.
        """
        at = bisect_left(self.later, max(after + 1, first - 1))
        return at < len(self.later) and self.later[at] < last


def in_order(
    generations: Iterable[str], stored_ms: Mapping[str, int], closed: Collection[str] = ()
) -> list[str]:
    """Generations by when the store received something of them last; where that is the same, by name.

    A host that lost its state while its clock was behind gave the newest one an older name. Those that are
    closed come first: whoever closed them went on elsewhere.
    """
    return sorted(generations, key=lambda each: (each not in closed, stored_ms.get(each, 0), each))


def passed_over(
    order: Sequence[str], chosen: str, at_ms: int | None, closed: Collection[str] = ()
) -> str | None:
    """The latest of the names before `chosen` in that order, where it is later than that of `chosen`.

    Closed ones are passed over with good reason, unless `chosen` is closed too.
    """
    before = [each for each in order[: order.index(chosen)] if each not in closed or chosen in closed]
    names = [each for each in before if each > chosen and (at_ms is None or generation_ms(each) <= at_ms)]
    return max(names, default=None)


def choose_snapshot(
    snapshots: Sequence[SnapshotEntry],
    *,
    at_ms: int | None,
    seq: int | None,
    stored_ms: Mapping[str, int] = MappingProxyType({}),
    closed: Collection[str] = (),
) -> SnapshotEntry | None:
    """The snapshot to begin with: the newest that is not behind the moment or seq asked for.

    Generations come in the order of `in_order`.
    """
    fitting = [
        s for s in snapshots if (at_ms is None or s.captured_ms <= at_ms) and (seq is None or s.seq <= seq)
    ]
    order = in_order({s.generation for s in fitting}, stored_ms, closed)
    return max(fitting, key=lambda s: (order.index(s.generation), s.seq), default=None)


def plan_from(
    chosen: SnapshotEntry,
    snapshots: Sequence[SnapshotEntry],
    bundles: Sequence[BundleEntry],
    *,
    at_ms: int | None,
    seq: int | None,
) -> Plan:
    """The plan that begins with `chosen`.

    The last bundle that begins at or before the snapshot may reach over it, so it is read too: unless the
    next one begins right behind the snapshot. Retention keeps no more than that, and no lease asks for more.
    """
    mine = sorted((b for b in bundles if b.generation == chosen.generation), key=lambda b: b.first_seq)
    start = sum(1 for b in mine if b.first_seq <= chosen.seq + 1)
    wanted = [b for b in mine[max(0, start - 1) :] if seq is None or b.first_seq <= seq]
    later = [s.seq for s in snapshots if s.generation == chosen.generation and s.seq > chosen.seq]
    return Plan(chosen, tuple(wanted), at_ms, seq, tuple(sorted(later)))
