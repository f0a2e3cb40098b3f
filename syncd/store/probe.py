"""Proof that a store creates once.

- Some servers ignore `If-None-Match` without a word and overwrite. On such a store two daemons
  would interleave unnoticed, so syncd does not work with it at all.
- Asks for no permission that backing up does not need: the object stays, and is used again.
"""

import contextlib
from typing import Final

from syncd.errors import ObjectExists, ObjectNotFound, StoreUnfit
from syncd.store.base import Store

PROBE_NAME: Final = ".syncd-probe"

_FIRST: Final = b"syncd asks here whether this store creates objects only once.\n"
_HINT: Final = "use a directory, or a server that honours conditional creates: AWS S3, MinIO, Ceph, SeaweedFS"


async def probe(store: Store) -> None:
    """Raises StoreUnfit where `store` overwrites, or says that it stored what it did not."""
    with contextlib.suppress(ObjectExists):  # left by another version; any bytes will do
        await store.put(PROBE_NAME, _FIRST)
    try:
        held = await store.get(PROBE_NAME)
    except ObjectNotFound as error:
        raise StoreUnfit(
            f"{store.url}: {PROBE_NAME} was stored and then could not be found", hint=_HINT
        ) from error
    try:
        await store.put(PROBE_NAME, held + b"again\n")
    except ObjectExists:
        found = await store.get(PROBE_NAME)
        if found == held:
            return
        did = "said that the name exists, and overwrote the object all the same"
    else:
        found = await store.get(PROBE_NAME)
        did = "kept the old object and reported success" if found == held else "overwrote it"
    raise StoreUnfit(f"{store.url}: asked to create an object whose name exists, the store {did}", hint=_HINT)
