"""Proof that a store creates once.

- Some servers ignore `If-None-Match` without a word and overwrite. On such a store two daemons
  would interleave unnoticed, so syncd does not work with it at all.
- Asks for no permission that backing up does not need: the object stays, and is used again. Where
  it may not be read, the refusal of a second create is all that is proven, not that the first
  object was kept.
"""

import contextlib
from typing import Final

from syncd.errors import ObjectExists, ObjectNotFound, StoreRefused, StoreUnfit
from syncd.store.base import Store

PROBE_NAME: Final = ".syncd-probe"

_FIRST: Final = b"syncd asks here whether this store creates objects only once.\n"
_HINT: Final = "use a directory, or a server that honours conditional creates: AWS S3, MinIO, Ceph, SeaweedFS"


async def probe(store: Store) -> bool:
    """Whether it is also proven that the first object was kept: False where it may not be read.

    Raises StoreUnfit where `store` overwrites, or says that it stored what it did not.
    """
    with contextlib.suppress(ObjectExists):  # left by another version; any bytes will do
        await store.put(PROBE_NAME, _FIRST)
    held = await _held(store)
    try:
        await store.put(PROBE_NAME, (_FIRST if held is None else held) + b"again\n")
    except ObjectExists:
        found = await _held(store)
        if found == held:
            return held is not None
        did = "said that the name exists, and overwrote the object all the same"
    else:
        found = await _held(store)
        kept = found == held and held is not None
        did = "kept the old object and reported success" if kept else "overwrote it"
    raise StoreUnfit(f"{store.url}: asked to create an object whose name exists, the store {did}", hint=_HINT)


async def _held(store: Store) -> bytes | None:
    """What is there, None where it may not be read."""
    try:
        return await store.get(PROBE_NAME)
    except StoreRefused:
        return None
    except ObjectNotFound as error:
        raise StoreUnfit(
            f"{store.url}: {PROBE_NAME} was stored and then could not be found", hint=_HINT
        ) from error
