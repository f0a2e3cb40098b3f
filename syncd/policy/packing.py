"""Which pages a snapshot ships, and which it finds in packs that are on the target already. Pure.

- A page's image in a pack is live while no delta after the pack's position changed the page.
- Where more than `dead_share` of all images in packs is dead, packs are given up, those with the largest
  dead share first: their live pages are shipped again. So a restore reads at most 1 / (1 - dead_share)
  times the pages of the database, and a snapshot never moves more than that takes (adr/0005).
- Packs that are far from full are given up together once there are many of them: a restore's requests
  are bounded, and a page is moved about once for every `_SMALL_PACKS` snapshots.
- Pages that changed and pages that are moved go into different packs: what changed today is likelier to
  change tomorrow (hot and cold data, as in log-structured file systems).
"""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from syncd.format.manifest import PackRef
from syncd.format.runs import Runs

_SMALL_PACKS: Final = 16
_NOWHERE: Final = -1

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack on the target: its images are those of position `seq`; `numbers` are their pages, in order."""

    ref: PackRef
    seq: int
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Base:
    """The map of the last complete snapshot, which was taken at `seq`."""

    seq: int
    packs: tuple[PackRef, ...]
    runs: Runs


@dataclass(frozen=True, slots=True)
class Change:
    """The pages that the deltas up to `seq` changed since the change before."""

    seq: int
    numbers: Numbers


class Packing:
    """Where each page of a database is, while a snapshot of it is made.

    Args:
        page_count: of the database.
        packs: images in a full pack.
        base: the last complete snapshot, None where there is none of this page size.
        known: packs of snapshots that were not completed, all of this page size.
        changes: all changes after the oldest of these positions, in order.
        missing: ids of packs that are not there any more, or about to go.
        dead_share: of all images in packs, below 1; above it, packs are given up.
    """

    def __init__(
        self,
        page_count: int,
        *,
        full: int,
        base: Base | None,
        known: Sequence[KnownPack],
        changes: Iterable[Change],
        missing: AbstractSet[bytes],
        dead_share: float,
    ) -> None:
        self._packs: list[PackRef] = []
        self._full = full
        self._pack_of = np.full(page_count, _NOWHERE, np.int32)
        self._offset_of = np.zeros(page_count, np.int32)
        last = np.zeros(page_count, np.int64)
        for change in changes:
            last[_within(change.numbers, page_count) - 1] = change.seq
        if base is not None:
            self._take_base(base, last)
        for pack in sorted(known, key=lambda k: k.seq):
            self._take(pack, last)
        for index, ref in enumerate(self._packs):
            if ref.pack_id in missing:
                self._pack_of[self._pack_of == index] = _NOWHERE
        self._changed = self._pack_of == _NOWHERE
        self._give_up(dead_share)
        self._moved = (self._pack_of == _NOWHERE) & ~self._changed
        self._reused = int((self._pack_of != _NOWHERE).sum())

    @property
    def needed(self) -> Numbers:
        """All pages to be shipped, ascending."""
        return np.flatnonzero(self._pack_of == _NOWHERE).astype(np.int64) + 1

    @property
    def changed(self) -> int:
        """How many pages have no live image on the target."""
        return int(self._changed.sum())

    @property
    def moved(self) -> int:
        """How many pages are shipped again since their pack is given up."""
        return int(self._moved.sum())

    @property
    def reused(self) -> int:
        """How many pages stay where they are."""
        return self._reused

    def batches(self) -> Iterator[Numbers]:
        """The pages of each pack to be made, ascending within it. Call it once, before `add`."""
        for group in (self._changed, self._moved):
            numbers = np.flatnonzero(group).astype(np.int64) + 1
            for at in range(0, len(numbers), self._full):
                yield numbers[at : at + self._full]

    def add(self, ref: PackRef, numbers: Numbers) -> None:
        """A pack is on the target that holds these pages as the snapshot wants them."""
        self._place(ref, numbers, np.arange(len(numbers), dtype=np.int64))

    def result(self) -> tuple[tuple[PackRef, ...], Runs]:
        """Packs and map of the manifest. Raises ValueError where a page is nowhere."""
        if len(self.needed):
            raise ValueError(f"{len(self.needed)} pages are in no pack")
        used = np.bincount(self._pack_of, minlength=len(self._packs)) > 0
        packs = tuple(ref for ref, is_used in zip(self._packs, used, strict=True) if is_used)
        index = np.cumsum(used, dtype=np.int32) - 1
        return packs, Runs.of_places(index[self._pack_of], self._offset_of)

    def _take_base(self, base: Base, last: Numbers) -> None:
        packs, offsets = base.runs.places()
        count = min(len(packs), len(last))
        live = last[:count] <= base.seq
        self._packs.extend(base.packs)
        np.copyto(self._pack_of[:count], packs[:count], where=live)
        np.copyto(self._offset_of[:count], offsets[:count], where=live)

    def _take(self, pack: KnownPack, last: Numbers) -> None:
        inside = np.flatnonzero(pack.numbers <= len(last))
        numbers = pack.numbers[inside]
        live = last[numbers - 1] <= pack.seq
        self._place(pack.ref, numbers[live], inside[live])

    def _place(self, ref: PackRef, numbers: Numbers, offsets: Numbers) -> None:
        self._pack_of[numbers - 1] = len(self._packs)
        self._offset_of[numbers - 1] = offsets
        self._packs.append(ref)

    def _give_up(self, dead_share: float) -> None:
        placed = self._pack_of[self._pack_of != _NOWHERE]
        live = np.bincount(placed, minlength=len(self._packs))
        pages = np.array([ref.pages for ref in self._packs], np.int64)
        given_up = (live > 0) & (pages * 2 < self._full)
        if given_up.sum() <= _SMALL_PACKS:
            given_up[:] = False
        dead = np.where((live > 0) & ~given_up, pages - live, 0)
        excess = dead.sum() - dead_share / (1 - dead_share) * len(self._pack_of)
        order = np.argsort(-dead / pages, kind="stable")
        done = np.cumsum(dead[order]) - dead[order]
        given_up[order[done < excess]] = True
        if len(pages):
            self._pack_of[(self._pack_of != _NOWHERE) & given_up[self._pack_of]] = _NOWHERE


def _within(numbers: Numbers, page_count: int) -> Numbers:
    return numbers[numbers <= page_count]
