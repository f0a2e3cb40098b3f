"""Whether the archive of one database is whole, without restoring it.

- Every object that a kept position needs is fetched; a listing alone proves nothing. What a listing
  leaves out although it is there is found by asking for it; what it shows but nobody can get, too.
- Without an identity: signatures of manifests, epochs and bundles, SHA-256 of packs, order of bundles.
  So every byte is proven to be what the daemon stored; that what is sealed opens needs an identity.
- With it, `sample` of the packs and of the stretches between snapshots is opened; 1.0 is all of
  it, and then the pages of every snapshot are summed up to its digest as well.
- Each damaged object is named, and no other. What went meanwhile (a prune) is no finding.
- Nothing is written to the archive. Memory is bounded by a few packs or bundles, one manifest, and a few
  bytes for each pack and snapshot.
"""

import asyncio
import math
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from syncd.archive import manifest_digest, read_manifest
from syncd.envelope.keys import Identity, VerifyKey
from syncd.errors import ArchiveError, IdentityError, NoRestorePoint
from syncd.format.manifest import Manifest
from syncd.format.names import (
    GENERATIONS,
    deltas_name,
    epoch_name,
    epochs_dir,
    generation_dir,
    parse_epoch,
    parse_generation,
    parse_seq,
    snapshot_name,
    snapshots_dir,
)
from syncd.marks import tombstoned_names
from syncd.model import Digest
from syncd.policy.proof import Expected, Report
from syncd.store.base import Store
from syncd.verify.bundles import Bundles
from syncd.verify.packs import Packs
from syncd.verify.scan import Progress, Scan, Uses
from syncd.verify.tally import Tally

_KINDS: Final = frozenset({"deltas", "epochs", "packs", "snapshots"})
_T = TypeVar("_T")


async def verify(
    store: Store,
    *,
    database: str | None,
    verify_key: VerifyKey,
    rng: random.Random,
    identity: Identity | None = None,
    sample: float = 0.0,
    quick: bool = False,
    newest: bool = False,
    expected: Expected | None = None,
    marked: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at the whole archive and say what is wrong with it; `policy.proof` says what that proves.

    Args:
        store: the archive.
        database: the name that the archive must carry, None for any.
        verify_key: of the daemon that wrote it.
        rng: chooses what is opened of a sample.
        identity: opens what is sealed; needed where `sample` is not 0.
        sample: how much of it, from 0 to 1.
        quick: packs that are not opened are looked for in the listing only.
        newest: look at the newest snapshot only, and what is behind it.
        expected: what the daemon knows to have stored; finds a tail that was cut off.
        marked: names of objects that wait for their deletion; what the tombstones say where None.
        progress: told of bytes fetched.

    Raises StoreError, NoRestorePoint where there is no archive, IdentityError where `identity` opens no
    epoch of it, FormatVersionError where a newer syncd wrote it.
    """
    if sample and identity is None:
        raise IdentityError("what is sealed needs the recovery kit", hint="give it with --identity")
    if marked is None:
        marked = await tombstoned_names(store)
    scan = Scan(store, database, verify_key, identity, bool(sample), marked, progress)
    scan.report.compared = expected is not None
    generations = await _generations(scan)
    if expected is not None and expected.generation not in generations:
        lost = f"every position of generation {expected.generation}"
        scan.find(
            generation_dir(expected.generation), "the daemon stored it, and nothing of it is there", lost
        )
    if newest:
        generations = generations[-1:]
    if progress is not None:
        progress.begin(await _size(scan, generations))
    opened = 0
    for generation in generations:
        one = _Generation(scan, generation, sample, quick, newest, rng, expected)
        await one.check()
        opened += len(one.usable)
    if scan.strangers and not opened:
        raise scan.strangers[0]
    return scan.report


async def _generations(scan: Scan) -> list[str]:
    found: list[str] = []
    for name in await scan.store.dirs(GENERATIONS):
        try:
            found.append(parse_generation(name))
        except ArchiveError:
            scan.note(f"{GENERATIONS}{name}/", "syncd gives no such name")
    if not found:
        raise NoRestorePoint(f"{scan.store.url} holds no archive", hint="check the URL")
    scan.report.generations = len(found)
    return sorted(found)


async def _size(scan: Scan, generations: list[str]) -> int:
    """For the progress bar only: a listing is not believed otherwise."""
    return sum(
        [
            info.size
            for generation in generations
            async for info in scan.store.objects(generation_dir(generation))
        ]
    )


@dataclass(slots=True)
class _Generation:
    """One generation: epochs, manifests, packs, bundles, sums, in this order."""

    scan: Scan
    generation: str
    sample: float
    quick: bool
    newest: bool
    rng: random.Random
    expected: Expected | None
    uses: Uses = field(default_factory=Uses)
    usable: set[int] = field(default_factory=set)
    bad_epochs: dict[int, ArchiveError] = field(default_factory=dict)
    known_epochs: set[int] = field(default_factory=set)
    listed: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    digests: dict[int, Digest] = field(default_factory=dict)

    async def check(self) -> None:
        """Everything. Raises StoreError, FormatVersionError."""
        for kind in await self.scan.store.dirs(generation_dir(self.generation)):
            if kind not in _KINDS:
                self.scan.note(f"{generation_dir(self.generation)}{kind}/", "syncd gives no such name")
        await self._check_epochs()
        tally = await asyncio.to_thread(Tally) if self.sample >= 1 else None
        try:
            packs = Packs(
                self.scan,
                self.generation,
                self.usable,
                self.uses,
                self.quick,
                tally,
                self._excuses,
                notes_others=not self.newest,
            )
            await self._check_manifests(packs)
            await packs.check(self._choose(packs.named))
            bundles = await self._check_bundles()
            if tally is not None:
                await self._sum_up(tally)
        finally:
            if tally is not None:
                tally.close()
        await self._blame_epochs()
        if self.expected is not None and self.expected.generation == self.generation:
            self._compare(self.expected, bundles)

    async def _check_epochs(self) -> None:
        async for info in self.scan.store.objects(epochs_dir(self.generation)):
            try:
                number = parse_epoch(info.name)
            except ArchiveError:
                self.scan.note(info.name, "syncd gives no such name")
                continue
            await self._check_epoch(number, info.name)

    async def _check_epoch(self, number: int, name: str) -> None:
        """Look at an epoch; nothing comes of one that is not there."""
        try:
            raw = await self.scan.fetch(name)
            if raw is None:
                return
            self.known_epochs.add(number)
            self.scan.report.epochs += 1
            if await self.scan.check_epoch(self.generation, number, raw):
                self.usable.add(number)
        except ArchiveError as e:
            self.known_epochs.add(number)
            self.bad_epochs[number] = e

    async def _check_manifests(self, packs: Packs) -> None:
        wrong: list[tuple[int, ArchiveError]] = []
        for seq in await self._manifest_seqs():
            try:
                manifest = await self._manifest(seq)
            except ArchiveError as e:
                wrong.append((seq, e))
                continue
            if manifest is None:
                continue
            self.right.append(seq)
            self.uses.add_snapshot(manifest.epoch, seq)
            packs.add(manifest)
            if self.scan.opens and manifest.epoch in self.usable:
                await self._learn_digest(manifest)
        for seq, error in wrong:
            name = snapshot_name(self.generation, seq)
            self.scan.blame(name, error, f"snapshot {seq}", excused=self._excuses(name, seq))

    async def _manifest_seqs(self) -> list[int]:
        seqs: list[int] = []
        async for info in self.scan.store.objects(snapshots_dir(self.generation)):
            try:
                seqs.append(parse_seq(info.name))
            except ArchiveError:
                self.scan.note(info.name, "syncd gives no such name")
        return seqs[-1:] if self.newest else seqs

    async def _manifest(self, seq: int) -> Manifest | None:
        """The manifest; None where it went meanwhile. Raises ArchiveError where it cannot be used."""
        name = snapshot_name(self.generation, seq)
        try:
            raw = await self.scan.fetch(name)
        except ArchiveError:
            self.listed.append(seq)
            raise
        if raw is None:
            if not await self.scan.is_listed(name):
                self.scan.note(name, "it went while the archive was verified")
                return None
            self.listed.append(seq)
            raise ArchiveError("it is listed, but not there when it is asked for")
        self.listed.append(seq)
        self.scan.report.snapshots += 1
        return await asyncio.to_thread(
            read_manifest,
            raw,
            generation=self.generation,
            seq=seq,
            database=self.scan.database,
            verify_key=self.scan.verify_key,
        )

    async def _learn_digest(self, manifest: Manifest) -> None:
        key = await self.scan.reader.key(self.generation, manifest.epoch)
        try:
            self.digests[manifest.seq] = manifest_digest(key, manifest)
        except ArchiveError as e:
            self.scan.blame(snapshot_name(self.generation, manifest.seq), e, f"snapshot {manifest.seq}")

    def _excuses(self, name: str, seq: int) -> bool:
        """Whether a manifest or bundle is marked, and a good snapshot behind it is not.

        Tombstones carry no signature: one must not hide that the newest state cannot be restored.
        """
        return name in self.scan.marked and any(
            each > seq and snapshot_name(self.generation, each) not in self.scan.marked for each in self.right
        )

    def _choose(self, among: Iterable[_T]) -> set[_T]:
        """The share that is opened, rounded up."""
        known = list(among)
        return set(self.rng.sample(known, math.ceil(self.sample * len(known))))

    async def _check_bundles(self) -> Bundles:
        bundles = Bundles(
            self.scan,
            self.generation,
            self.listed,
            self.right,
            self.digests,
            self._choose(self.digests),
            self.usable,
            self.uses,
            self._excuses,
            since=self.listed[0] if self.newest and self.listed else -1,
        )
        await bundles.check()
        return bundles

    async def _sum_up(self, tally: Tally) -> None:
        """The pages of each snapshot against its digest. Its manifest is fetched again: memory."""
        for seq, digest in self.digests.items():
            name = snapshot_name(self.generation, seq)
            try:
                manifest = await self.scan.reader.manifest(self.generation, seq)
                found = await asyncio.to_thread(tally.digest, manifest)
            except ArchiveError as e:
                self.scan.blame(name, e, f"snapshot {seq}")
                continue
            self.scan.report.snapshots_summed += found is not None
            if found not in {None, digest}:
                self.scan.find(name, "its pages do not have its digest", f"snapshot {seq}")

    async def _blame_epochs(self) -> None:
        """Epochs that are damaged, or named and not there."""
        for number in self.uses.numbers() - self.known_epochs:
            name = epoch_name(self.generation, number)
            await self._check_epoch(number, name)
            if number in self.known_epochs:
                if not await self.scan.is_listed(name):
                    self.scan.find(name, "it is there, but no listing shows it", self.uses.text(number))
            else:
                self.scan.find(name, "it is missing", self.uses.text(number))
        for number, error in self.bad_epochs.items():
            self.scan.blame(epoch_name(self.generation, number), error, self.uses.text(number))

    def _compare(self, expected: Expected, bundles: Bundles) -> None:
        """The end of the archive against what the daemon stored."""
        if expected.snapshot not in self.listed:
            name = snapshot_name(self.generation, expected.snapshot)
            self.scan.find(name, "it is missing: the daemon stored it", f"snapshot {expected.snapshot}")
        ends = [seq for seq in (bundles.end, max(self.listed, default=None)) if seq is not None]
        if bundles.end_is_known and ends and max(ends) < expected.seq:
            after = max(ends)
            self.scan.find(
                deltas_name(self.generation, after + 1),
                f"it is missing: the daemon stored everything up to {expected.seq}",
                f"positions from {after + 1} on",
            )
