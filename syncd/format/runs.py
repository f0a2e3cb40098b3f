"""The map of a snapshot: which pages are which images of which packs, as runs.

- A large database's map has hundreds of thousands of runs: they are rows of one array, not objects.
- Runs stand in page order from page 1 on, so that a run's first page follows from those before it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from syncd.errors import ArchiveError
from syncd.format.wire import Reader

_COLUMNS: Final = 3

Places = NDArray[np.int32]  # one for each page: a large database's map is held once, so it is small

_MOST: Final = (1 << 32) - 1
_LONGEST: Final = 5
_CHUNK: Final = (
    1 << 16
)  # numbers at once: an array of all of them takes 8 times the bytes, several times over


@dataclass(frozen=True, slots=True)
class Run:
    """Pages first_page, first_page + 1, ... are images offset, offset + 1, ... of packs[pack]."""

    first_page: int
    count: int
    pack: int
    offset: int


class Runs:
    """Runs in page order.

    Args:
        table: int64 of shape (runs, 3); columns: pages in the run, pack, offset.
    """

    __slots__ = ("table",)

    def __init__(self, table: NDArray[np.int64]) -> None:
        self.table = table

    @classmethod
    def of(cls, *runs: Run) -> "Runs":
        """These runs. Raises ValueError where one does not begin behind the one before it."""
        page = 1
        for run in runs:
            if run.first_page != page:
                raise ValueError(f"a run of {run.count} pages at page {run.first_page} stands at page {page}")
            page += run.count
        return cls(np.array([(r.count, r.pack, r.offset) for r in runs], np.int64).reshape(-1, _COLUMNS))

    @classmethod
    def of_places(cls, packs: Places, offsets: Places) -> "Runs":
        """The map that says of page 1, 2, ... in which pack it is, and at which offset there."""
        if not len(packs):
            return cls.of()
        breaks = np.flatnonzero((np.diff(packs) != 0) | (np.diff(offsets) != 1)) + 1
        starts = np.concatenate(([0], breaks))
        counts = np.diff(np.concatenate((starts, [len(packs)])))
        return cls(np.stack((counts, packs[starts], offsets[starts]), axis=1).astype(np.int64))

    def places(self) -> tuple[Places, Places]:
        """Pack and offset of page 1, 2, ...: the inverse of `of_places`.

        In a run, the offset goes up by one for every page; at the start of each it jumps.
        """
        counts, offsets = self.counts, self.offsets
        steps = np.ones(self.page_count, np.int32)
        if len(self):
            last = offsets + counts - 1
            steps[np.cumsum(counts) - counts] = np.diff(offsets, prepend=0) - np.concatenate(
                ([0], (last - offsets)[:-1])
            )
        return np.repeat(self.packs.astype(np.int32), counts), np.cumsum(steps, out=steps)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many pages each run has."""
        return self.table[:, 0]

    @property
    def packs(self) -> NDArray[np.int64]:
        """The pack of each run, as an index."""
        return self.table[:, 1]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """The index of each run's first image in its pack."""
        return self.table[:, 2]

    @property
    def page_count(self) -> int:
        """Pages in all runs."""
        return int(self.counts.sum())

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and np.array_equal(self.table, other.table)

    @override
    def __hash__(self) -> int:
        return hash(self.table.tobytes())

    @override
    def __repr__(self) -> str:
        return f"Runs({len(self)} of {self.page_count} pages)"

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Run]:
        page = 1
        for count, pack, offset in self.table.tolist():
            yield Run(page, count, pack, offset)
            page += count

    def check(self, page_count: int, pages_of_packs: Iterable[int]) -> None:
        """Raise ValueError unless these runs cover pages 1 to `page_count` with images that are there.

        `pages_of_packs` are the numbers of images in each pack; every pack must be used.
        """
        sizes = np.fromiter(pages_of_packs, np.int64)
        ends = np.cumsum(self.counts)
        self._refuse(self.counts < 1, "is empty")
        self._refuse((self.packs < 0) | (self.packs >= len(sizes)), "names a pack that there is not")
        beyond = self.offsets + self.counts > sizes[self.packs] if len(self) else self.offsets
        self._refuse((self.offsets < 0) | (beyond > 0), "leaves its pack")
        end = int(ends[-1]) if len(self) else 0
        if end != page_count:
            raise ValueError(f"the runs end at page {end}, the database at page {page_count}")
        if len(np.unique(self.packs)) != len(sizes):
            raise ValueError("a pack is listed that no run uses")

    def _refuse(self, wrong: NDArray[np.bool_], reason: str) -> None:
        if wrong.any():
            index = int(np.argmax(wrong))
            first = int(self.counts[:index].sum()) + 1
            raise ValueError(f"the run at page {first} {reason}")


def encode_runs(runs: Runs) -> bytes:
    """Every run as three varints: pages, pack, offset."""
    values = runs.table.ravel()
    return b"".join(_varints(values[at : at + _CHUNK]) for at in range(0, len(values), _CHUNK))


def decode_runs(reader: Reader, count: int) -> Runs:
    """Take `count` runs. Raises ArchiveError."""
    wanted = count * _COLUMNS
    if wanted > reader.left:
        raise _does_not_fit(reader, count)
    values = np.empty(wanted, np.int64)
    for at in range(0, wanted, _CHUNK):
        part = values[at : at + _CHUNK]
        part[:] = _take_varints(reader, len(part), count)
    return Runs(values.reshape(-1, _COLUMNS))


def _varints(values: NDArray[np.int64]) -> bytes:
    lengths = np.ones(len(values), np.int64)
    for bits in range(7, 35, 7):
        lengths += values >= 1 << bits
    starts = np.cumsum(lengths) - lengths
    out = np.zeros(int(lengths.sum()), np.uint8)
    for k in range(int(lengths.max(initial=0))):
        here = lengths > k
        more = (lengths[here] > k + 1) * 0x80
        out[starts[here] + k] = (values[here] >> 7 * k & 0x7F) | more
    return out.tobytes()


def _take_varints(reader: Reader, wanted: int, count: int) -> NDArray[np.int64]:
    rest = np.frombuffer(reader.peek()[: wanted * _LONGEST], np.uint8)
    ends = np.flatnonzero(rest < 0x80)[:wanted]
    lengths = np.diff(ends, prepend=-1)
    if (lengths > _LONGEST).any() or len(ends) < wanted <= len(rest) // _LONGEST:
        raise reader.broken(f"a number in the runs is above the limit of {_MOST}")
    if len(ends) < wanted:
        raise _does_not_fit(reader, count)
    if ((rest[ends] == 0) & (lengths > 1)).any():
        raise reader.broken("an integer is not in its shortest spelling")
    starts = ends - lengths + 1
    values = np.zeros(wanted, np.int64)
    for k in range(int(lengths.max())):
        here = lengths > k
        values[here] |= (rest[starts[here] + k].astype(np.int64) & 0x7F) << 7 * k
    if (values > _MOST).any():
        raise reader.broken(f"a number in the runs is above the limit of {_MOST}")
    reader.take(int(ends[-1]) + 1)
    return values


def _does_not_fit(reader: Reader, count: int) -> ArchiveError:
    return reader.broken(f"{count} runs do not fit into {reader.left} bytes")
