"""An archive of several snapshots, packs, bundles and epochs, and what can be done to an object of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from syncd.source.integrity import make_specimen
from syncd.specimen import Specimen
from syncd.store.base import Store
from syncd.store.memory import Held, MemoryStore
from tests.support.damage import flipped
from tests.support.fakes import IDENTITY, SIGNING_KEY, START_MS

KINDS: Final = ("deltas", "epochs", "packs", "snapshots")
GENERATION: Final = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
NAME: Final = "chat"


@dataclass
class Archive:
    """Snapshots at 0, 4 and 8; bundles from 1, 3, 5, ... of two deltas up to 12; an epoch from 0, 5, 9."""

    states: list[bytes]
    held: dict[str, Held] = field(default_factory=dict)

    def store(self) -> MemoryStore:
        return MemoryStore(held=self.held)


async def build(directory: Path, generation: str = GENERATION, store: Store | None = None) -> Archive:
    archive = Archive(make_specimen(directory / f"{generation}.db", 13, seed=1))
    specimen = Specimen(
        store or archive.store(),
        database=NAME,
        generation=generation,
        states=archive.states,
        signing_key=SIGNING_KEY,
        recipients=(IDENTITY.recipient,),
        now_ms=START_MS,
        pack_pages=8,
    )
    await specimen.write(
        snapshots=(0, 4, 8), bundles=[range(seq, seq + 2) for seq in range(1, 12, 2)], epochs=(0, 5, 9)
    )
    return archive


def names(archive: Archive, kind: str) -> list[str]:
    return sorted(name for name in archive.held if f"/{kind}/" in name)


def remove(archive: Archive, name: str, _rng: random.Random) -> None:
    del archive.held[name]


def truncate(archive: Archive, name: str, rng: random.Random) -> None:
    raw = archive.held[name].data
    archive.held[name] = Held(raw[: rng.randrange(1, len(raw))], 0)


def empty(archive: Archive, name: str, _rng: random.Random) -> None:
    archive.held[name] = Held(b"", 0)


def flip(archive: Archive, name: str, rng: random.Random) -> None:
    raw = archive.held[name].data
    archive.held[name] = Held(flipped(raw, rng.randrange(len(raw)), 1 << rng.randrange(8)), 0)


def extend(archive: Archive, name: str, rng: random.Random) -> None:
    archive.held[name] = Held(archive.held[name].data + rng.randbytes(3), 0)


def sibling(archive: Archive, name: str, rng: random.Random) -> None:
    """Another object of its kind lies under its name, as an older copy or a mix-up would."""
    kind = name.split("/")[-2]
    other = rng.choice([each for each in names(archive, kind) if each != name])
    archive.held[name] = archive.held[other]


def forged(archive: Archive, name: str, rng: random.Random) -> None:
    archive.held[name] = Held(rng.randbytes(len(archive.held[name].data)), 0)


ATTACKS: Final[tuple[Callable[[Archive, str, random.Random], None], ...]] = (
    remove,
    truncate,
    empty,
    flip,
    extend,
    sibling,
    forged,
)
