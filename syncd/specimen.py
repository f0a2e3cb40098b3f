"""A small archive, made from the states of a small database: what a self-test stores and restores.

- Every kind of object is in it: epochs, packs that snapshots share, manifests, bundles of deltas.
- It is sealed and written by the same code as any archive; what is left out is capture.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from syncd.archive import new_epoch, seal_delta, seal_manifest, seal_pack, sign_bundle
from syncd.envelope.epoch import EpochKey
from syncd.envelope.keys import Recipient, SigningKey
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta, PatchGroup, SealedDelta, make_patch
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import PACK_ID_BYTES, deltas_name, epoch_name, pack_name, snapshot_name
from syncd.format.runs import Runs
from syncd.model import Digest
from syncd.source.header import parse_header
from syncd.store.base import Store

_LEVEL = 3
_Place = tuple[int, int]  # index of a pack, index of an image in it


@dataclass(slots=True)
class Specimen:
    """One generation of it.

    Args:
        store: where to.
        database: its name.
        generation: its generation.
        states: the bytes of the database at seq 0, 1, ...
        signing_key: signs it.
        recipients: can open it.
        now_ms: all of its times; state n was captured n ms later.
        pack_pages: so many pages are in a pack at most.
    """

    store: Store
    database: str
    generation: str
    states: Sequence[bytes]
    signing_key: SigningKey
    recipients: tuple[Recipient, ...]
    now_ms: int
    pack_pages: int
    _packs: list[PackRef] = field(default_factory=list, init=False)
    _last: dict[int, tuple[bytes, _Place]] = field(default_factory=dict, init=False)

    async def write(
        self, *, snapshots: Iterable[int], bundles: Iterable[range], epochs: Sequence[int]
    ) -> None:
        """Store it: snapshots at these seqs, these bundles, and an epoch from each of these seqs on."""
        keys = [await self._epoch(number) for number in range(len(epochs))]

        def key_at(seq: int) -> EpochKey:
            return keys[max(i for i, first in enumerate(epochs) if first <= seq)]

        for seq in snapshots:
            await self._snapshot(seq, key_at(seq))
        for bundle in bundles:
            sealed = tuple(self._delta(seq, key_at(seq)) for seq in bundle)
            content = Bundle(self.database, self.generation, self.now_ms + bundle[-1], sealed)
            name = deltas_name(self.generation, bundle.start)
            await self.store.put(name, sign_bundle(self.signing_key, content))

    def digest(self, seq: int) -> Digest:
        """Of the state at `seq`."""
        return Digest().replace(added=self._pages(seq).items())

    def _pages(self, seq: int) -> dict[int, bytes]:
        raw = self.states[seq]
        size = parse_header(raw, "the specimen").page_size
        return {at // size + 1: raw[at : at + size] for at in range(0, len(raw), size)}

    async def _epoch(self, number: int) -> EpochKey:
        key, raw = new_epoch(
            self.database,
            self.generation,
            number,
            created_ms=self.now_ms,
            recipients=self.recipients,
            signing_key=self.signing_key,
        )
        await self.store.put(epoch_name(self.generation, number), raw)
        return key

    async def _snapshot(self, seq: int, key: EpochKey) -> None:
        """Pages that are as in the snapshot before stay in its packs."""
        pages = self._pages(seq)
        size = len(pages[1])
        kept = {
            n: self._last[n] for n, image in pages.items() if n in self._last and self._last[n][0] == image
        }
        fresh = [(number, image) for number, image in pages.items() if number not in kept]
        for at in range(0, len(fresh), self.pack_pages):
            part = fresh[at : at + self.pack_pages]
            for offset, (number, image) in enumerate(part):
                kept[number] = (image, (len(self._packs), offset))
            await self._pack(key, size, part)
        self._last = kept
        used = sorted({pack for _, (pack, _) in kept.values()})
        places = [kept[number][1] for number in sorted(kept)]
        manifest = Manifest(
            database=self.database,
            generation=self.generation,
            seq=seq,
            epoch=key.number,
            captured_ms=self.now_ms + seq,
            created_ms=self.now_ms + seq,
            page_size=size,
            page_count=len(pages),
            packs=tuple(self._packs[index] for index in used),
            runs=Runs.of_places(
                np.array([used.index(pack) for pack, _ in places], np.int64),
                np.array([offset for _, offset in places], np.int64),
            ),
        )
        raw = seal_manifest(key, self.signing_key, manifest, self.digest(seq))
        await self.store.put(snapshot_name(self.generation, seq), raw)

    async def _pack(self, key: EpochKey, page_size: int, pages: Sequence[tuple[int, bytes]]) -> None:
        pack_id = os.urandom(PACK_ID_BYTES)
        numbers, images = [number for number, _ in pages], b"".join(image for _, image in pages)
        raw = seal_pack(key, pack_id, page_size, numbers, images, _LEVEL)
        await self.store.put(pack_name(self.generation, pack_id), raw)
        self._packs.append(PackRef(pack_id, len(raw), hashlib.sha256(raw).digest(), len(pages), key.number))

    def _delta(self, seq: int, key: EpochKey) -> SealedDelta:
        old, new = self._pages(seq - 1), self._pages(seq)
        changed = tuple(number for number, image in new.items() if old.get(number) != image)
        patch = make_patch(
            b"".join(old[number] for number in changed if number in old),
            b"".join(new[number] for number in changed),
            _LEVEL,
        )
        delta = Delta(
            page_size=len(new[1]),
            page_count=len(new),
            digest=self.digest(seq),
            first_ms=self.now_ms + seq,
            last_ms=self.now_ms + seq,
            commits=1,
            boundary=True,
            rebase=False,
            groups=(PatchGroup(changed, patch),),
        )
        return seal_delta(key, seq, self.digest(seq - 1), delta)
