"""The deltas of one generation in order, from the first to the last, opened where that was asked for.

- A bundle's first seq is the last one's seq plus 1; a gap is in order only where a snapshot leads on to the
  next bundle, or that bundle reaches over one.
- The signature of a bundle proves that the daemon stored it there. Opening a delta proves that it leads on
  from the state with the digest before it; at the next snapshot that digest must be the snapshot's.
- Behind a delta that does not open nothing opens up to the next snapshot.
- Where a bundle cannot be read, nobody knows where it ended: a hole right behind it is not told.
- A closing has no deltas, and stands behind a bundle, or right behind a snapshot.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from syncd.archive import read_bundle
from syncd.errors import ArchiveError
from syncd.format.bundle import Bundle
from syncd.format.delta import SealedDelta
from syncd.format.names import deltas_dir, deltas_name, parse_seq, snapshot_name
from syncd.model import Digest
from syncd.policy.proof import hole, positions_from, span
from syncd.verify.scan import Scan, Uses, ahead


@dataclass(slots=True)
class Bundles:
    """The check of one generation's bundles.

    Args:
        scan: where, and what was found.
        generation: which.
        listed: the seqs of all manifests, ascending.
        right: of those that are right, ascending.
        digests: of the snapshots, as far as they are known.
        chosen: the snapshots behind which deltas are opened.
        usable: the epochs that open.
        uses: told which epochs the deltas name.
        excuses: whether an object (name, seq) is about to go, and nothing that stays needs it.
        since: bundles that end before this seq are not looked at.
    """

    scan: Scan
    generation: str
    listed: Sequence[int]
    right: Sequence[int]
    digests: Mapping[int, Digest]
    chosen: Collection[int]
    usable: Collection[int]
    uses: Uses
    excuses: Callable[[str, int], bool]
    since: int
    end: int | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)
    _reached: int | None = field(default=None, init=False)
    _digest: Digest | None = field(default=None, init=False)

    @property
    def end_is_known(self) -> bool:
        """Whether the last bundle, if there is one, could be read."""
        return self.end is not None or not self._begun

    async def check(self) -> None:
        """Look at all of them; `end` is the last delta then. Raises StoreError, FormatVersionError."""
        async for first, bundle in ahead(self._names(), self._read):
            await self._place(first, bundle)
            if bundle:
                await asyncio.to_thread(self._open, bundle.deltas)
        if self._reached is not None:
            self._meet(self._reached)
            await self._look_behind(self._reached)

    async def _names(self) -> AsyncIterator[int]:
        before: int | None = None
        async for info in self.scan.store.objects(deltas_dir(self.generation)):
            try:
                seq = parse_seq(info.name)
            except ArchiveError:
                self.scan.note(info.name, "syncd gives no such name")
                continue
            # One that begins at or before `since` may reach over it, if it is the last of them.
            if before is not None and seq > self.since + 1:
                yield before
            before = None
            if seq <= self.since:
                before = seq
            else:
                yield seq
        if before is not None:
            yield before

    async def _read(self, first: int) -> Bundle | None:
        """The bundle; None where it cannot be used, and said why."""
        name = deltas_name(self.generation, first)
        affects = positions_from(first, self.right)
        excused = self.excuses(name, first)
        try:
            raw = await self.scan.fetch_listed(name, affects, excused=excused)
            if raw is None:
                return None
            bundle = read_bundle(
                raw,
                generation=self.generation,
                first_seq=first,
                database=self.scan.database,
                verify_key=self.scan.verify_key,
            )
        except ArchiveError as e:
            self.scan.blame(name, e, affects, excused=excused)
            return None
        self.scan.report.bundles += 1
        self.scan.report.deltas += len(bundle.deltas)
        for sealed in bundle.deltas:
            self.uses.add_delta(sealed.epoch, sealed.seq)
        return bundle

    async def _place(self, first: int, bundle: Bundle | None) -> None:
        """What stands between the last bundle and this one."""
        if not self._begun:
            self._begun = True
            self._reached = next((seq for seq in self.listed if seq < first), None)
            if self._reached is None and bundle:
                self._begin(first, bundle.last_seq)
        if self._reached is not None and first > self._reached + 1:
            await self._hole(self._reached, first, bundle.last_seq if bundle else None)
        elif self._reached is not None and first <= self._reached:
            self.scan.find(
                deltas_name(self.generation, first),
                f"it begins at {first}, but the bundle before it ends at {self._reached}",
                positions_from(first, self.right),
            )
        if bundle is None:
            self._digest = None
        self._reached = bundle.last_seq if bundle else None
        self.end = self._reached

    def _begin(self, first: int, last: int) -> None:
        """The first bundle, with no snapshot before it."""
        name = deltas_name(self.generation, first)
        oldest = self.listed[0] if self.listed else None
        if oldest is not None and oldest <= last:
            return  # it reaches over the oldest snapshot, and its deltas behind that are needed
        affects = f"positions from {first} on" if oldest is None else span(first, oldest - 1)
        if self.excuses(name, first):
            return
        missing = snapshot_name(self.generation, first - 1) if first else name
        self.scan.find(missing, "it is missing: deltas stand behind it, and no snapshot before them", affects)

    async def _hole(self, after: int, until: int, last: int | None = None) -> None:
        """Deltas after+1 .. until-1 are in no bundle that a listing shows."""
        self._digest = None
        name = deltas_name(self.generation, after + 1)
        missing = hole(after, until, self.listed, last)
        if await self.scan.exists(name) and not await self.scan.is_listed(name):
            self.scan.find(name, "it is there, but no listing shows it", span(after + 1, until - 1))
        elif missing.lost:
            needed = f"deltas {missing.lost.start} to {missing.lost.stop - 1}"
            affects = positions_from(missing.lost.start, self.right)
            self.scan.find(
                name,
                f"it is missing: no bundle holds the {needed}",
                affects,
                excused=self.excuses(name, after + 1),
            )
        elif missing.unkept:
            self.scan.note(
                name,
                f"no bundle holds the deltas {after + 1} to {missing.unkept.stop - 1} in front of a snapshot:"
                " pruned, lost, or not stored since the target was out of reach",
            )

    async def _look_behind(self, reached: int) -> None:
        """Behind the last bundle: one that no listing shows, or nothing up to the last snapshot."""
        name = deltas_name(self.generation, reached + 1)
        if await self.scan.exists(name) and not await self.scan.is_listed(name):
            self.scan.find(name, "it is there, but no listing shows it", f"positions from {reached + 1} on")
        elif self.listed and self.listed[-1] > reached:
            await self._hole(reached, self.listed[-1] + 1)

    def _meet(self, seq: int) -> None:
        """At the state after delta `seq`: if it has a snapshot, both must be the same."""
        digest = self.digests.get(seq)
        if digest is None:
            return
        if self._digest is not None and self._digest != digest:
            name = snapshot_name(self.generation, seq)
            self.scan.find(name, "it is another state than the deltas before it lead to", f"snapshot {seq}")
        self._digest = digest if seq in self.chosen else None

    def _open(self, bundle: Sequence[SealedDelta]) -> None:
        for sealed in bundle:
            self._meet(sealed.seq - 1)
            if self._digest is None or sealed.epoch not in self.usable:
                self._digest = None
                continue
            try:
                delta = self.scan.reader.open(self.generation, sealed, self._digest)
            except ArchiveError as e:
                self._digest = None
                name = deltas_name(self.generation, bundle[0].seq)
                affects = positions_from(sealed.seq, self.right)
                self.scan.blame(name, e, affects, excused=self.excuses(name, bundle[0].seq))
                continue
            self._digest = delta.digest
            self.scan.report.deltas_opened += 1
