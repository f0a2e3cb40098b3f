"""The packs of one generation: those that manifests name, and those that none does.

- Each is fetched once, however many snapshots share it.
- A pack that is missing is no finding where the manifests that named it went meanwhile.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field

from syncd.archive import open_pack, pack_epoch
from syncd.errors import ArchiveError
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import pack_name, packs_dir, parse_pack_id, snapshot_name
from syncd.policy.proof import seqs_text
from syncd.verify.scan import Scan, Uses, ahead
from syncd.verify.tally import Tally


@dataclass(slots=True)
class Pack:
    """A pack as the first manifest that names it knows it, and the snapshots that need it."""

    ref: PackRef
    page_size: int
    snapshots: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Packs:
    """The check of one generation's packs.

    `tally` is filled where everything is opened; `excuses` says of a manifest whether it is about to go.
    Packs that no manifest names are noted where `notes_others`.
    """

    scan: Scan
    generation: str
    usable: Collection[int]
    uses: Uses
    quick: bool
    tally: Tally | None
    excuses: Callable[[str, int], bool]
    notes_others: bool
    named: dict[bytes, Pack] = field(default_factory=dict, init=False)
    _sizes: dict[bytes, int] = field(default_factory=dict, init=False)

    def add(self, manifest: Manifest) -> None:
        """What this manifest names."""
        for ref in manifest.packs:
            pack = self.named.setdefault(ref.pack_id, Pack(ref, manifest.page_size))
            pack.snapshots.append(manifest.seq)
            if pack.ref != ref or pack.page_size != manifest.page_size:
                name = snapshot_name(self.generation, manifest.seq)
                problem = f"it names the pack {ref.pack_id.hex()} otherwise than the snapshots before it"
                self.scan.find(name, problem, f"snapshot {manifest.seq}")

    async def check(self, chosen: Collection[bytes]) -> None:
        """Look at all of them and open those that are chosen. Raises StoreError, FormatVersionError."""
        self.scan.report.packs += len(self.named)
        await self._list()
        async for _ in ahead(self._in_order(), lambda each: self._check(each, opens=each in chosen)):
            pass

    async def _in_order(self) -> AsyncIterator[bytes]:
        for pack_id in list(self.named):
            yield pack_id

    async def _list(self) -> None:
        async for info in self.scan.store.objects(packs_dir(self.generation)):
            try:
                pack_id = parse_pack_id(info.name)
            except ArchiveError:
                self.scan.note(info.name, "syncd gives no such name")
                continue
            if pack_id in self.named:
                self._sizes[pack_id] = info.size
            elif self.notes_others and info.name not in self.scan.marked:
                self.scan.note(
                    info.name,
                    "no manifest names it: its snapshot is not finished, or the manifest is gone or damaged",
                )

    async def _check(self, pack_id: bytes, *, opens: bool) -> None:
        name = pack_name(self.generation, pack_id)
        pack = self.named[pack_id]
        affects = seqs_text(pack.snapshots)
        excused = not self._needed(pack.snapshots)
        listed = self._sizes.get(pack_id)
        if self.quick and not opens and listed is not None:
            self.scan.report.packs_listed += 1
            if listed != pack.ref.size:
                self.scan.find(name, f"it has {listed} bytes, not {pack.ref.size}", affects, excused=excused)
            return
        try:
            raw = await self.scan.fetch(name)
            if raw is None:
                await self._missing(name, pack, listed=listed is not None)
                return
            if listed is None and not await self.scan.is_listed(name):
                self.scan.find(name, "it is there, but no listing shows it", affects, excused=excused)
            await asyncio.to_thread(self._compare, name, pack, raw)
            epoch = pack_epoch(raw, name)
            self.uses.add_pack(epoch, pack.snapshots)
            if opens and epoch in self.usable:
                await self._open(name, pack, raw, epoch)
        except ArchiveError as e:
            self.scan.blame(name, e, affects, excused=excused)

    async def _missing(self, name: str, pack: Pack, *, listed: bool) -> None:
        """Missing only counts for snapshots that are still there."""
        left = [
            seq for seq in pack.snapshots if await self.scan.is_listed(snapshot_name(self.generation, seq))
        ]
        if left:
            problem = "it is listed, but not there when it is asked for" if listed else "it is missing"
            self.scan.find(name, problem, seqs_text(left), excused=not self._needed(left))
        else:
            self.scan.note(name, "it went while the archive was verified")

    def _needed(self, snapshots: Iterable[int]) -> bool:
        """Whether one of them is not about to go.

        A mark on the pack itself excuses nothing: who can delete can write one.
        """
        return any(not self.excuses(snapshot_name(self.generation, seq), seq) for seq in snapshots)

    @staticmethod
    def _compare(name: str, pack: Pack, raw: bytes) -> None:
        if len(raw) != pack.ref.size:
            raise ArchiveError(f"{name}: it has {len(raw)} bytes, not {pack.ref.size}")
        if hashlib.sha256(raw).digest() != pack.ref.sha256:
            raise ArchiveError(f"{name}: its bytes are not those that the manifest names")

    async def _open(self, name: str, pack: Pack, raw: bytes, epoch: int) -> None:
        key = await self.scan.reader.key(self.generation, epoch)

        def opened() -> None:
            size, numbers, images = open_pack(lambda _: key, pack.ref.pack_id, raw, name)
            if size != pack.page_size or len(numbers) != pack.ref.pages:
                raise ArchiveError(f"{name}: it does not hold the pages that the manifest names")
            if self.tally is not None:
                self.tally.add(pack.ref.pack_id, size, numbers, images)

        await asyncio.to_thread(opened)
        self.scan.report.packs_opened += 1
