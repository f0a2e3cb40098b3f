"""A snapshot: the whole database at one position, as packs and a signed manifest.

- It reads a view of the shadow while capture goes on; nothing of the application is touched.
- Packs first, the manifest last: a snapshot without its manifest does not exist.
- A manifest that is there already is ours, from a snapshot whose answer was lost or whose process died
  then; otherwise another daemon writes here.
- Memory is bounded by one pack.
"""

import asyncio
import hashlib
import os
from dataclasses import dataclass
from typing import Final

from syncd.archive import read_manifest, seal_manifest, seal_pack
from syncd.envelope.epoch import EpochKey
from syncd.errors import ArchiveError, ConflictError, ObjectExists
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import PACK_ID_BYTES, pack_name, snapshot_name
from syncd.format.runs import Run, Runs
from syncd.log import Event
from syncd.replica import Replica
from syncd.source.shadow import View
from syncd.state import Chain
from syncd.store.base import Store

_PACK_BYTES: Final = 4 << 20
_PACK_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `take_snapshot` stored."""

    seq: int
    captured_ms: int
    packs: int
    bytes: int


async def take_snapshot(replica: Replica, store: Store, chain: Chain, view: View, key: EpochKey) -> Snapshot:
    """Ship `view`, the shadow at `chain`. Raises StoreError, ConflictError; then nothing of it counts."""
    started = replica.clock.monotonic()
    replica.log(Event.SNAPSHOT_STARTED, seq=chain.seq, pages=chain.page_count)
    packs: list[PackRef] = []
    runs: list[Run] = []
    per_pack = max(1, _PACK_BYTES // view.page_size) if view.page_size else 1
    while True:
        pack_id = os.urandom(PACK_ID_BYTES)
        first, count, raw = await asyncio.to_thread(_next_pack, view, per_pack, key, pack_id)
        if not count:
            break
        await store.put(pack_name(chain.generation, pack_id), raw)
        runs.append(Run(first_page=first, count=count, pack=len(packs), offset=0))
        packs.append(
            PackRef(pack_id=pack_id, size=len(raw), sha256=hashlib.sha256(raw).digest(), pages=count)
        )
    manifest = Manifest(
        database=replica.name,
        generation=chain.generation,
        seq=chain.seq,
        epoch=key.number,
        captured_ms=chain.captured_ms,
        created_ms=replica.clock.now_ms(),
        page_size=chain.page_size,
        page_count=chain.page_count,
        packs=tuple(packs),
        runs=Runs.of(*runs),
        sealed_digest=b"",
    )
    raw = seal_manifest(key, replica.sealing.signing_key, manifest, chain.digest)
    try:
        await store.put(snapshot_name(chain.generation, chain.seq), raw)
    except ObjectExists:
        await _check_ours(replica, store, manifest)
    size = sum(pack.size for pack in packs) + len(raw)
    replica.log(
        Event.SNAPSHOT_STORED,
        seq=chain.seq,
        packs=len(packs),
        pages=chain.page_count,
        bytes=size,
        duration_ms=round((replica.clock.monotonic() - started) * 1000),
    )
    return Snapshot(seq=chain.seq, captured_ms=chain.captured_ms, packs=len(packs), bytes=size)


async def _check_ours(replica: Replica, store: Store, mine: Manifest) -> None:
    """Raises ConflictError unless the manifest that is there says what `mine` says of the database.

    A copy of this state with another history is found out before: its epochs have the same numbers.
    """
    name = snapshot_name(mine.generation, mine.seq)
    conflict = ConflictError(
        f"{store.url}: {name} was written by another daemon",
        hint="stop the other daemon, or give this one a target or a name of its own",
    )
    try:
        there = read_manifest(
            await store.get(name),
            generation=mine.generation,
            seq=mine.seq,
            database=mine.database,
            verify_key=replica.sealing.signing_key.verify_key,
        )
    except ArchiveError as e:
        raise conflict from e
    if (there.captured_ms, there.page_size, there.page_count) != (
        mine.captured_ms,
        mine.page_size,
        mine.page_count,
    ):
        raise conflict


def _next_pack(view: View, count: int, key: EpochKey, pack_id: bytes) -> tuple[int, int, bytes]:
    """The next pages as a sealed pack: (first page, pages, object). No pages at the end."""
    first, images = view.read(count)
    if not images:
        return first, 0, b""
    pages = list(enumerate(images, first))
    return first, len(pages), seal_pack(key, pack_id, view.page_size, pages, _PACK_LEVEL)
