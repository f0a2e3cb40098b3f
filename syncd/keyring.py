"""Who can open what: the epochs of an archive, whom they name, and whether an identity opens them.

- An epoch counts when its signature is right; one that is damaged is told, and the others stand for
  themselves. What a prune takes away meanwhile was never there.
- To say who can open what, no identity is needed: epochs name recipients, deltas and manifests name epochs.
- `prove` opens every epoch that names the identity, the digest of the newest snapshot and one delta. It
  restores nothing: that is the drill's. Packs are looked at where some epoch is not for the identity: an old
  pack in a new snapshot would keep a recipient who was added later from restoring.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from syncd.ahead import each
from syncd.archive import read_epoch
from syncd.envelope.keys import Identity, Recipient, VerifyKey
from syncd.errors import ArchiveError, IdentityError, NoRestorePoint, ObjectNotFound
from syncd.format.names import (
    GENERATIONS,
    MAX_EPOCH,
    deltas_dir,
    epoch_name,
    epochs_dir,
    parse_epoch,
    parse_generation,
    parse_seq,
    snapshots_dir,
)
from syncd.reader import Reader
from syncd.store.base import Store

_SNAPSHOTS_TRIED: Final = 5

Name = tuple[int, bytes]  # what an epoch says of a recipient: number of the KEM, fingerprint


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """One epoch, and whom it names."""

    generation: str
    number: int
    created_ms: int
    names: frozenset[Name]


@dataclass(frozen=True, slots=True)
class Keyring:
    """The epochs of an archive in order; `damaged` says of each that cannot be used why."""

    epochs: tuple[Epoch, ...]
    damaged: tuple[ArchiveError, ...] = ()

    def naming(self, name: Name) -> tuple[Epoch, ...]:
        """The epochs that a recipient can open."""
        return tuple(epoch for epoch in self.epochs if name in epoch.names)

    @property
    def names(self) -> tuple[Name, ...]:
        """Everyone who can open anything, by their first epoch."""
        return tuple(dict.fromkeys(name for epoch in self.epochs for name in sorted(epoch.names)))


@dataclass(frozen=True, slots=True)
class Proof:
    """What an identity was shown to open: `epochs` of them, not the `others`; a snapshot and a delta."""

    epochs: int
    others: int
    generation: str
    newest_epoch: int
    snapshot: int | None
    delta: int | None


def name_of(recipient: Recipient) -> Name:
    """What an epoch says of it."""
    return recipient.kem.value, recipient.fingerprint


async def read_keyring(store: Store, *, database: str | None, verify_key: VerifyKey) -> Keyring:
    """Every epoch that is there. Raises StoreError, ArchiveError for a name that is not ours."""
    listed: list[tuple[str, int]] = []
    for directory in await store.dirs(GENERATIONS):
        generation = parse_generation(directory)
        listed += [(generation, parse_epoch(i.name)) async for i in store.objects(epochs_dir(generation))]
    epochs: list[Epoch] = []
    damaged: list[ArchiveError] = []

    async def read(place: tuple[str, int]) -> None:
        generation, number = place
        try:
            raw = await store.get(epoch_name(generation, number))
            epoch = read_epoch(
                raw, database=database, generation=generation, verify_key=verify_key, number=number
            )
        except ObjectNotFound:
            return
        except ArchiveError as e:
            damaged.append(e)
            return
        names = frozenset((wrap.kem, wrap.recipient) for wrap in epoch.wraps)
        epochs.append(Epoch(generation, number, epoch.created_ms, names))

    await each(listed, read)
    return Keyring(tuple(sorted(epochs, key=lambda e: (e.generation, e.number))), tuple(damaged))


async def last_seq(
    store: Store, *, database: str | None, verify_key: VerifyKey, generation: str, epoch: int
) -> int | None:
    """The last position that needs no later epoch than this one; None where nothing was sealed by then.

    Reads as many objects as a binary search needs. Raises StoreError, ArchiveError.
    """
    reader = Reader(store, identity=None, verify_key=verify_key, database=database)

    async def epoch_of_bundle(seq: int) -> int:
        deltas = (await reader.bundle(generation, seq)).deltas
        return deltas[0].epoch if deltas else MAX_EPOCH  # a closing stands behind all deltas

    async def epoch_of_snapshot(seq: int) -> int:
        return (await reader.manifest(generation, seq)).epoch

    bundles = [parse_seq(i.name) async for i in store.objects(deltas_dir(generation))]
    snapshots = [parse_seq(i.name) async for i in store.objects(snapshots_dir(generation))]
    found: list[int] = []
    if (count := await _up_to(bundles, epoch_of_bundle, epoch)) > 0:
        bundle = await reader.bundle(generation, bundles[count - 1])
        found.append(max(delta.seq for delta in bundle.deltas if delta.epoch <= epoch))
    if (count := await _up_to(snapshots, epoch_of_snapshot, epoch)) > 0:
        found.append(snapshots[count - 1])
    return max(found, default=None)


async def prove(store: Store, *, database: str | None, verify_key: VerifyKey, identity: Identity) -> Proof:
    """Show that an identity opens the archive.

    Raises StoreError, IdentityError where the newest epoch is not for it, ArchiveError where something that
    is for it does not open, NoRestorePoint where there is no archive yet.
    """
    keyring = await read_keyring(store, database=database, verify_key=verify_key)
    if not keyring.epochs:
        if keyring.damaged:
            raise keyring.damaged[0]
        raise NoRestorePoint(f"{store.url} has no epochs", hint="has `syncd run` stored something there?")
    reader = Reader(store, identity=identity, verify_key=verify_key, database=database)
    mine = keyring.naming(name_of(identity.recipient))
    for epoch in mine:
        await reader.key(epoch.generation, epoch.number)
    newest = keyring.epochs[-1]
    if newest not in mine:
        raise _not_for(identity, keyring, mine)
    if keyring.damaged:
        raise keyring.damaged[0]
    try:
        snapshot, delta = await _open_contents(store, reader, newest.generation)
        if snapshot is not None and len(mine) < len(keyring.epochs):
            await _open_packs(reader, newest.generation, snapshot)
    except IdentityError as e:
        raise IdentityError(
            f"the newest snapshot was in part sealed before this identity was added: {e.message}",
            hint="it opens the next one that is whole: syncd snapshot NAME --whole",
        ) from e
    return Proof(
        len(mine), len(keyring.epochs) - len(mine), newest.generation, newest.number, snapshot, delta
    )


async def _open_contents(store: Store, reader: Reader, generation: str) -> tuple[int | None, int | None]:
    """Seqs of the newest snapshot, whose digest opens, and of a delta that follows one and opens."""
    snapshots = [parse_seq(i.name) async for i in store.objects(snapshots_dir(generation))]
    bundles = [parse_seq(i.name) async for i in store.objects(deltas_dir(generation))]
    for seq in snapshots[: -_SNAPSHOTS_TRIED - 1 : -1]:
        try:
            delta = await _open_delta_after(reader, generation, seq, bundles)
        except IdentityError:
            if seq == snapshots[-1]:
                raise
            break  # older ones may be from before the identity was added
        if delta is not None:
            return snapshots[-1], delta
    return (snapshots[-1] if snapshots else None), None


async def _open_delta_after(reader: Reader, generation: str, seq: int, bundles: Sequence[int]) -> int | None:
    """Open the digest of the snapshot at `seq`, and the delta that follows it; None where none does."""
    digest = await reader.digest(await reader.manifest(generation, seq))
    before = [first for first in bundles if first <= seq + 1]
    if before:
        for sealed in (await reader.bundle(generation, before[-1])).deltas:
            if sealed.seq == seq + 1:
                reader.open(generation, sealed, digest)
                return sealed.seq
    return None


async def _open_packs(reader: Reader, generation: str, seq: int) -> None:
    """Fetch every pack of a snapshot, and open its epoch."""
    manifest = await reader.manifest(generation, seq)
    for index in range(len(manifest.packs)):
        await reader.sealed_pack(manifest, index)


async def _up_to(seqs: Sequence[int], epoch_of: Callable[[int], Awaitable[int]], epoch: int) -> int:
    """How many, from the first, are of no later epoch."""
    low, high = 0, len(seqs)
    while low < high:
        middle = (low + high) // 2
        if await epoch_of(seqs[middle]) <= epoch:
            low = middle + 1
        else:
            high = middle
    return low


def _not_for(identity: Identity, keyring: Keyring, mine: Sequence[Epoch]) -> IdentityError:
    newest = keyring.epochs[-1]
    who = f"{identity.recipient.kem.label} {identity.recipient.fingerprint.hex()}"
    if mine:
        hint = f"it opens older ones, the last is epoch {mine[-1].number} of {mine[-1].generation}"
    else:
        hint = "it opens no other either: it is the identity of another archive, or was never added"
    return IdentityError(
        f"the newest epoch, {newest.number} of {newest.generation}, is not for this identity ({who})",
        hint=hint,
    )
