"""What an archive holds, as retention sees it: records of objects, in their order.

- The order of snapshots and bundles is (generation, seq), never a clock.
- What a clock that ran ahead has dated is `future`: its time says nothing.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from syncd.format.marks import Mark
from syncd.format.names import deltas_name, epoch_name, generation_ms, pack_name, snapshot_name

SKEW_MS: Final = 5 * 60_000


class Kind(StrEnum):
    """What an object is, in the order in which a generation's objects are told."""

    SNAPSHOT = "snapshot"
    BUNDLE = "deltas"
    PACK = "pack"
    EPOCH = "epoch"
    HOLD = "hold"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A manifest that was read: bytes of the object, when the store got it, ids of its packs, its epochs.

    `flaw` says which pack is missing or of another size
    by the listing: a snapshot that cannot be restored counts for nothing, and does not go either.
    """

    generation: str
    seq: int
    captured_ms: int
    size: int
    stored_ms: int
    packs: frozenset[bytes]
    epochs: frozenset[int] = frozenset()
    flaw: str = ""

    @property
    def name(self) -> str:
        """Name of the manifest."""
        return snapshot_name(self.generation, self.seq)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A manifest that is damaged, forged or of a newer format: nobody knows which packs it needs."""

    generation: str
    seq: int
    size: int
    stored_ms: int
    why: str = ""

    @property
    def name(self) -> str:
        """Name of the manifest."""
        return snapshot_name(self.generation, self.seq)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of deltas. It ends before the next one begins.

    `last_seq`, and `epochs` of its first and last delta, are known where it was read.
    """

    generation: str
    first_seq: int
    size: int
    stored_ms: int
    last_seq: int | None = None
    epochs: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return deltas_name(self.generation, self.first_seq)


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack, as listed."""

    generation: str
    pack_id: bytes
    size: int
    stored_ms: int

    @property
    def name(self) -> str:
        """Name of the pack."""
        return pack_name(self.generation, self.pack_id)


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch, as listed."""

    generation: str
    number: int
    size: int
    stored_ms: int

    @property
    def name(self) -> str:
        """Name of the epoch."""
        return epoch_name(self.generation, self.number)


Object = Snapshot | Unreadable | Bundle | Pack | Epoch


@dataclass(frozen=True, slots=True)
class Inventory:
    """All objects of one archive, in any order. `tombstoned` has the names that are to go already."""

    snapshots: tuple[Snapshot, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    bundles: tuple[Bundle, ...] = ()
    packs: tuple[Pack, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    marks: tuple[Mark, ...] = ()
    tombstoned: frozenset[str] = field(default=frozenset())

    @property
    def generations(self) -> list[str]:
        """Every generation that an object belongs to, oldest first."""
        return sorted({each.generation for each in self.objects})

    @property
    def objects(self) -> tuple[Object, ...]:
        """Everything but marks."""
        return (*self.snapshots, *self.unreadable, *self.bundles, *self.packs, *self.epochs)


def is_future(generation: str, now_ms: int, *times_ms: int) -> bool:
    """Whether a time of an object, or that of its generation, lies more than five minutes ahead."""
    return any(ms > now_ms + SKEW_MS for ms in (generation_ms(generation), *times_ms))
