"""One shipment: the deltas that wait, in one bundle, created under a name that only it should have.

- A bundle that is there already is ours, from a shipment whose answer was lost, with fewer deltas than wait
  by now; or a closing, since the archive was taken over; or another daemon's, which is a conflict.
"""

from collections.abc import Sequence

from syncd.archive import read_bundle, sign_bundle
from syncd.claims import Standing
from syncd.errors import ArchiveError, ObjectExists
from syncd.format.bundle import Bundle
from syncd.format.names import deltas_name
from syncd.replica import Replica
from syncd.snapshot import conflict, read_back
from syncd.state import Outgoing
from syncd.store.base import Store


async def put_deltas(
    replica: Replica, store: Store, standing: Standing, generation: str, waiting: Sequence[Outgoing]
) -> tuple[Sequence[Outgoing], bytes]:
    """Those that are there now, and the bundle that holds them. Raises StoreError, ConflictError."""
    sealed = tuple(delta.sealed for delta in waiting)
    bundle = Bundle(replica.name, generation, waiting[-1].last_ms, sealed)
    raw = sign_bundle(replica.sealing.signing_key, bundle)
    name = deltas_name(generation, bundle.first_seq)
    try:
        await store.put(name, raw)
    except ObjectExists as e:
        raw = await read_back(store, name)
        there = _read(replica, store, raw, bundle)
        if there.closes is not None:
            raise await standing.closed() from e
        if there.deltas != bundle.deltas[: len(there.deltas)]:
            raise conflict(store, name) from e
        waiting = waiting[: len(there.deltas)]
    return waiting, raw


def _read(replica: Replica, store: Store, raw: bytes, mine: Bundle) -> Bundle:
    try:
        return read_bundle(
            raw,
            generation=mine.generation,
            first_seq=mine.first_seq,
            database=mine.database,
            verify_key=replica.sealing.signing_key.verify_key,
        )
    except ArchiveError as e:
        raise conflict(store, deltas_name(mine.generation, mine.first_seq)) from e
