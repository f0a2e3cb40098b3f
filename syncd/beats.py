"""Signs of life: what lets anyone recognise a target as stale by its age, where nothing is to be shipped.

- Each is created under a new name; the newest two of this process stay. Who may not delete leaves the older
  ones to `prune`.
"""

import contextlib
from typing import Final

from syncd.archive import sign_heartbeat
from syncd.claims import Standing
from syncd.errors import StoreRefused
from syncd.format.heartbeat import Heartbeat
from syncd.format.names import heartbeat_name
from syncd.log import Event
from syncd.marks import new_mark_id
from syncd.replica import Replica
from syncd.store.base import Store

_KEPT: Final = 2


class Beats:
    """The heartbeats of one replica in one target, for which it must have `standing`."""

    def __init__(self, replica: Replica, target: str, store: Store, standing: Standing) -> None:
        self._replica = replica
        self._target = target
        self._store = store
        self._standing = standing
        self._names: list[str] = []

    async def beat(self) -> None:
        """Store a heartbeat, unless something waits. Raises StoreError, ArchiveClaimed."""
        replica = self._replica
        chain, target = replica.chain, await replica.state.target(self._target)
        if chain is None or target.cursor is None or target.snapshot is None or target.cursor < chain.seq:
            return
        await self._standing.look()
        now_ms = replica.clock.now_ms()
        beat = Heartbeat(replica.name, chain.generation, chain.seq, now_ms)
        name = heartbeat_name(new_mark_id(now_ms))
        await self._store.put(name, sign_heartbeat(replica.sealing.signing_key, beat))
        replica.log(Event.TARGET_BEAT, target=self._target, seq=chain.seq)
        self._names.append(name)
        for old in self._names[:-_KEPT]:
            with contextlib.suppress(StoreRefused):
                await self._store.delete(old)
        del self._names[:-_KEPT]
