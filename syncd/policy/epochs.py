"""Which epochs are needed by what is there: a manifest, a delta, or deltas that are to come. Pure.

- A manifest names its own epoch and those of its packs.
- Numbers go up with seq: an unbroken run of deltas needs those from its first to its last delta's; the run
  at the end of a generation all from its first delta's on.
- Deltas that are to come follow the last one that is there: all from its epoch on. A snapshot tells nothing
  of it, since it may overtake deltas of older epochs. Where no delta is there, all stay until one comes.
- The first and last bundle of a run tell it, and have to be read. Where one was not, more is needed.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from syncd.format.names import MAX_EPOCH
from syncd.policy.inventory import Bundle, Epoch, Inventory
from syncd.policy.stretches import Stretch, doubtful, stretches


@dataclass(frozen=True, slots=True)
class _Run:
    """The ends of bundles that may follow each other without a gap; `last` is None where more may come."""

    first: Bundle
    last: Bundle | None

    @property
    def span(self) -> tuple[int, int]:
        low = self.first.epochs[0] if self.first.epochs else 0
        high = self.last.epochs[1] if self.last and self.last.epochs else MAX_EPOCH
        return low, high


@dataclass(slots=True)
class Needs:
    """What one generation needs: numbers that manifests name, spans of deltas, and all from `since` on."""

    named: set[int] = field(default_factory=set)
    since: int = 0
    runs: list[_Run] = field(default_factory=list)

    def has(self, number: int) -> bool:
        """Whether a delta may name it that is there or is to come."""
        spans = (run.span for run in self.runs)
        return number >= self.since or any(low <= number <= high for low, high in spans)


def needs(there: Inventory) -> dict[str, Needs]:
    """By generation, of those that have a snapshot or a bundle."""
    by_generation: dict[str, list[Stretch]] = {}
    for stretch in stretches(there):
        by_generation.setdefault(stretch.generation, []).append(stretch)
    return {generation: _needs(found) for generation, found in by_generation.items()}


def to_read(there: Inventory, *, now_ms: int, grace_ms: int) -> list[Bundle]:
    """The bundles that have to be read to tell what is needed: none where every epoch stays anyway.

    First those of which no name tells where they end; when they are known, those at the ends of runs.
    """
    found = needs(there)
    unsure = _contested(there, found, now_ms - grace_ms)
    torn = [b for b in doubtful(there) if b.generation in unsure]
    ends = [b for g in sorted(unsure) for run in found[g].runs for b in (run.first, run.last) if b]
    return [bundle for bundle in dict.fromkeys([*torn, *ends]) if bundle.epochs is None]


def _contested(there: Inventory, found: dict[str, Needs], before_ms: int) -> set[str]:
    """Generations of which an epoch may go: no manifest names it, and the next one is old enough."""
    replaced = replaced_ms(there)
    return {
        e.generation
        for e in there.epochs
        if e in replaced
        and replaced[e] <= before_ms
        and e.generation in found
        and e.number not in found[e.generation].named
    }


def replaced_ms(there: Inventory) -> dict[Epoch, int]:
    """When the store received the epoch that follows; the newest of a generation is left out."""
    order = sorted(there.epochs, key=lambda e: (e.generation, e.number))
    return {each: later.stored_ms for each, later in pairwise(order) if each.generation == later.generation}


def _needs(found: list[Stretch]) -> Needs:
    result = Needs()
    run: list[Bundle] = []
    for stretch in found:
        if stretch.snapshot is not None:
            result.named |= stretch.snapshot.epochs
        if not stretch.bundles:
            _close(result, run)
        for bundle in stretch.bundles:
            if run and run[-1].last_seq is not None and run[-1].last_seq + 1 < bundle.first_seq:
                _close(result, run)
            run.append(bundle)
    if run:
        result.runs.append(_Run(run[0], None))
        result.since = MAX_EPOCH
    elif result.runs:
        last = result.runs[-1].last
        result.since = last.epochs[1] if last and last.epochs else 0
    return result


def _close(result: Needs, run: list[Bundle]) -> None:
    if run:
        result.runs.append(_Run(run[0], run[-1]))
        run.clear()
