"""Whether a target still has what it acknowledged.

- The newest snapshot and the newest bundle behind it are asked for. A target without them was set back, or
  said that it kept what it did not: it is to begin again.
- Wrapped keys that the state still has are asked for, and are stored again where they are gone.
- Of the bundles that were stored since the last look, this process remembers the first seqs (8 bytes each),
  and looks for them in a listing. One that is gone is a hole up to the next snapshot.
- Retention removes none of these. Packs are looked for by every snapshot itself.
- What is gone is logged, and stays in `status` as the failed job `look TARGET`, for a day at least, until a
  look finds all there.
- Who may not list is told nothing.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from syncd.errors import StoreRefused
from syncd.format.names import deltas_dir, deltas_name, epoch_name, snapshot_name
from syncd.log import Event
from syncd.replica import Replica
from syncd.state import Chain, Job, TargetState
from syncd.store.base import Store

_SHOWN_MS: Final = 24 * 3_600_000


class LookBack:
    """Looks at one target of one replica."""

    def __init__(self, replica: Replica, target: str, store: Store) -> None:
        self._replica = replica
        self._target = target
        self._store = store
        self._generation = ""
        self._firsts = array("Q")

    def acknowledged(self, generation: str, first_seq: int) -> None:
        """The target has a bundle that begins with `first_seq`."""
        if generation != self._generation:
            self._generation, self._firsts = generation, array("Q")
        self._firsts.append(first_seq)

    async def look(self) -> bool:
        """Tell what is gone, and have the target begin again where that is the newest. Raises StoreError.

        True where a snapshot is needed, to lead on over a hole.
        """
        chain, target = self._replica.chain, await self._replica.state.target(self._target)
        if chain is None or target.snapshot is None:
            return False
        epochs: list[str] = []
        holes: list[str] = []
        try:
            newest = await self._newest_gone(chain, target, target.snapshot)
            if not newest:
                epochs = await self._mend_epochs(chain)
                holes = await self._holes(chain, target.snapshot)
        except StoreRefused:
            return False
        if newest:
            self._replica.log(Event.TARGET_ROLLED_BACK, target=self._target, missing=newest, head=target.head)
            await self._replica.state.set_epoch(self._target, 0)  # first: a crash must find both or neither
            await self._replica.state.begin_again(self._target)
        elif epochs or holes:
            self._replica.log(Event.TARGET_LOST, target=self._target, missing=epochs + holes)
        await self._note(newest + epochs + holes)
        return bool(holes)

    async def _newest_gone(self, chain: Chain, target: TargetState, snapshot: int) -> list[str]:
        newest = {snapshot_name(chain.generation, snapshot)}
        if target.cursor is not None and target.cursor > snapshot and target.head_object:
            newest.add(target.head_object)
        return [name for name in sorted(newest) if not await self._is_there(name)]

    async def _mend_epochs(self, chain: Chain) -> list[str]:
        """Wrapped keys that are gone and can be stored again: they will be."""
        shipped = (await self._replica.state.target(self._target)).epoch
        kept = [number for number, _ in await self._replica.state.epochs(0) if number <= shipped]
        gone = [n for n in kept if not await self._is_there(epoch_name(chain.generation, n))]
        if gone:
            await self._replica.state.set_epoch(self._target, min(gone) - 1)
        return [epoch_name(chain.generation, number) for number in gone]

    async def _holes(self, chain: Chain, snapshot: int) -> list[str]:
        """Bundles behind the last snapshot that are gone, of those acknowledged since the last look."""
        if chain.generation != self._generation:
            return []
        wanted = array("Q", (first for first in self._firsts if first > snapshot))
        there = bytearray(len(wanted))
        if wanted:
            after = deltas_name(chain.generation, wanted[0] - 1)
            async for info in self._store.objects(deltas_dir(chain.generation), after=after):
                place = bisect_left(wanted, info.name, key=lambda n: deltas_name(chain.generation, n))
                if place < len(wanted) and info.name == deltas_name(chain.generation, wanted[place]):
                    there[place] = 1
        del self._firsts[: len(self._firsts)]
        return [deltas_name(chain.generation, wanted[n]) for n, seen in enumerate(there) if not seen]

    async def _is_there(self, name: str) -> bool:
        return any([info.name == name async for info in self._store.objects(name)])

    async def _note(self, gone: list[str]) -> None:
        if gone:
            await note_gone(self._replica, self._target, gone)
            return
        jobs, now_ms = self._replica.state.jobs, self._replica.clock.now_ms()
        before = (await jobs.all()).get(_job(self._target))
        if before is not None and abs(now_ms - before.last_ms) >= _SHOWN_MS:
            found = "what it acknowledged is there"
            await jobs.record(Job(_job(self._target), now_ms, ok=True, detail=found))


async def note_gone(replica: Replica, target: str, gone: Sequence[str]) -> None:
    """For `status`: the target acknowledged these objects, and has them no more."""
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    detail = f"it acknowledged {gone[0]}{more}, and has it no more; a new snapshot goes on from there"
    await replica.state.jobs.record(Job(_job(target), replica.clock.now_ms(), ok=False, detail=detail))


def _job(target: str) -> str:
    return f"look {target}"
