"""A writer of the bucket without keys: everything it can do to objects, one thing at a time.

`python -m tests.campaigns.tamper --cases 100000 --seed 1`

- Two databases of one daemon (the same keys), two generations of the first; snapshots that share packs.
- Small cases change the bytes of one object: every byte of every object, cut at every length, bytes put in.
  Whoever reads the object must refuse it, by name.
- Large cases also remove, swap, copy and set back objects, and then restore and verify (without and with an
  identity) the whole archive. What is restored is a state that was there, byte for byte; where it is not the
  newest one, `--expect-head` refuses the archive, and verify on the daemon's host names what is gone.
- Anything but a SyncdError ends the campaign.
"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from syncd.contents import find_plan
from syncd.errors import ArchiveError, NoRestorePoint, SyncdError
from syncd.format.head import Head
from syncd.format.manifest import Manifest
from syncd.format.names import deltas_name, pack_name, parse_epoch, parse_seq, snapshot_name
from syncd.heads import Heads
from syncd.policy.proof import Expected, Report
from syncd.reader import Reader
from syncd.restore import Restore, Restored
from syncd.source.integrity import make_specimen
from syncd.specimen import Specimen
from syncd.store.memory import Held, MemoryStore
from syncd.verify import verify
from tests.support.damage import flipped
from tests.support.fakes import IDENTITY, SIGNING_KEY, START_MS
from tests.verbs.bench import NoProgress

NAME = "chat"
OLD, NEW = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ"
LAST = 12
VERIFY_KEY = SIGNING_KEY.verify_key
Objects = dict[str, bytes]


class Broken(AssertionError):
    """A promise that does not hold; says for which case."""


@dataclass
class World:
    """The archive of `chat`, that of another database of the same daemon, and what was in them."""

    objects: Objects
    other: Objects
    states: dict[str, list[bytes]]
    head: Head

    def store(self, objects: Objects | None = None) -> MemoryStore:
        return MemoryStore(held={name: Held(raw, 0) for name, raw in (objects or self.objects).items()})


async def build(directory: Path, seed: int) -> World:
    """Each generation: snapshots at 0, 4, 8; bundles of two deltas up to 12; epochs from 0, 5, 9."""
    states: dict[str, list[bytes]] = {}

    async def generation(store: MemoryStore, database: str, name: str) -> None:
        made = make_specimen(directory / f"{database}-{name}.db", LAST + 1, seed + len(states))
        states[f"{database} {name}"] = made
        specimen = Specimen(
            store,
            database=database,
            generation=name,
            states=made,
            signing_key=SIGNING_KEY,
            recipients=(IDENTITY.recipient,),
            now_ms=START_MS,
            pack_pages=8,
        )
        bundles = [range(seq, seq + 2) for seq in range(1, LAST, 2)]
        await specimen.write(snapshots=(0, 4, 8), bundles=bundles, epochs=(0, 5, 9))

    chat, other = MemoryStore(), MemoryStore()
    for name in (OLD, NEW):
        await generation(chat, NAME, name)
    await generation(other, "other", NEW)
    objects = {name: held.data for name, held in chat.held.items()}
    return World(
        objects,
        {name: held.data for name, held in other.held.items()},
        states,
        Head.of(NEW, LAST, objects[deltas_name(NEW, LAST - 1)]),
    )


@dataclass
class Campaign:
    """Runs cases, counts them by kind, and stops at the first that breaks a promise."""

    world: World
    directory: Path
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def small(self, cases: int) -> None:
        """So many changes of bytes, spread over all objects and all of their bytes."""
        packs = await self._packs()
        store = self.world.store()
        kinds = itertools.cycle(alterations())
        places = self._places()
        for _ in range(cases):
            name, at = next(places)
            kind, alter = next(kinds)
            raw = self.world.objects[name]
            altered = alter(raw, at, self.rng)
            if altered == raw:
                continue
            store.held[name] = Held(altered, 0)
            try:
                await self._read(name, store, packs)
            except ArchiveError as e:
                if not str(e).startswith(name):
                    raise Broken(f"{name}, {kind} at {at}: refused without its name: {e}") from e
            else:
                raise Broken(f"{name}, {kind} at {at}: not noticed")
            store.held[name] = Held(raw, 0)
            self.counts[f"{name.split('/')[2]}: {kind}"] += 1

    def _places(self) -> Iterator[tuple[str, int]]:
        """Object by object, each byte before any byte again; large ones no more often than small ones."""
        orders: dict[str, Iterator[int]] = {name: iter(()) for name in self.world.objects}
        while True:
            for name, raw in self.world.objects.items():
                at = next(orders[name], None)
                if at is None:
                    orders[name] = iter(self.rng.sample(range(len(raw)), len(raw)))
                    at = next(orders[name])
                yield name, at

    async def _packs(self) -> dict[str, tuple[Manifest, int]]:
        """For each pack, a manifest that names it, and its index there."""
        reader, out = Reader(self.world.store(), identity=None, verify_key=VERIFY_KEY, database=NAME), {}
        for name in self.world.objects:
            if "/snapshots/" in name:
                manifest = await reader.manifest(name.split("/")[1], parse_seq(name))
                for index, ref in enumerate(manifest.packs):
                    out[pack_name(manifest.generation, ref.pack_id)] = (manifest, index)
        return out

    async def _read(self, name: str, store: MemoryStore, packs: dict[str, tuple[Manifest, int]]) -> None:
        """As a restore does; bundles as without an identity, so that it is their signature that tells."""
        generation, kind = name.split("/")[1:3]
        identity = None if kind == "deltas" else IDENTITY
        reader = Reader(store, identity=identity, verify_key=VERIFY_KEY, database=NAME)
        if kind == "epochs":
            await reader.key(generation, parse_epoch(name))
        elif kind == "deltas":
            await reader.bundle(generation, parse_seq(name))
        elif kind == "snapshots":
            await reader.manifest(generation, parse_seq(name))
        else:
            await reader.sealed_pack(*packs[name])

    async def large(self, cases: int) -> None:
        """So many restores and verifications of the whole archive."""
        every = [*structural(self.world, self.rng), *set_back(self.world)]
        self.rng.shuffle(every)
        for kind, name, objects in itertools.islice(itertools.cycle(every), cases):
            await self._whole(kind, name, objects)
            self.counts[f"{name.split('/')[2]}: {kind}"] += 1

    async def _whole(self, kind: str, name: str, objects: Objects) -> None:
        case = f"{kind}: {name}"
        newest = await self._restore(case, objects)
        heads = Heads(self.world.store(objects), database=NAME, verify_key=VERIFY_KEY)
        if newest is not None and (newest.generation, newest.seq) != (NEW, LAST):
            self.outcomes["restored an older state, refused by --expect-head"] += 1
            try:
                await heads.check(self.world.head)
            except (ArchiveError, NoRestorePoint):
                pass
            else:
                raise Broken(f"{case}: {newest.seq} was restored, and the head was found")
        else:
            self.outcomes["restored the newest state" if newest else "restore refused"] += 1
        for sample in (0.0, 1.0):
            report = await self._verify(objects, sample)
            blamed = {finding.object for finding in report.findings}
            noted = {finding.object for finding in report.notes}
            if name not in blamed | noted and not unseen(kind, name):
                raise Broken(f"{case}: verify (sample {sample:g}) does not name it: {report.findings}")
            if kind != "removed" and name not in blamed:
                raise Broken(f"{case}: verify (sample {sample:g}) only notes it")
            if newest is None and not report.findings:
                raise Broken(f"{case}: it cannot be restored, and verify found nothing")

    async def _restore(self, case: str, objects: Objects) -> Restored | None:
        store = self.world.store(objects)
        to = self.directory / "restored.db"
        try:
            plan, _ = await find_plan(store, database=NAME, verify_key=VERIFY_KEY)
            restored = await Restore(
                store, identity=IDENTITY, verify_key=VERIFY_KEY, database=NAME, progress=NoProgress()
            ).run(plan, to, force=True)
        except SyncdError:
            if to.exists():
                raise Broken(f"{case}: refused, and left a file") from None
            return None
        raw = to.read_bytes()
        to.unlink()
        if raw != self.world.states[f"{NAME} {restored.generation}"][restored.seq]:
            raise Broken(f"{case}: wrong bytes for seq {restored.seq}")
        return restored

    async def _verify(self, objects: Objects, sample: float) -> Report:
        return await verify(
            self.world.store(objects),
            database=NAME,
            verify_key=VERIFY_KEY,
            rng=self.rng,
            identity=IDENTITY if sample else None,
            sample=sample,
            expected=Expected(NEW, LAST, 8),
        )


Alteration = Callable[[bytes, int, random.Random], bytes]


def alterations() -> list[tuple[str, Alteration]]:
    """What is done to the bytes of an object at a place. Flips come most often."""
    flip: tuple[str, Alteration] = (
        "flipped",
        lambda raw, at, rng: flipped(raw, at, 1 << rng.randrange(8)),
    )
    return [
        flip,
        ("truncated", lambda raw, at, _: raw[:at]),
        flip,
        ("extended", lambda raw, at, rng: raw + rng.randbytes(1 + at % 99)),
        flip,
        ("byte put in", lambda raw, at, rng: raw[:at] + rng.randbytes(1) + raw[at:]),
        flip,
        ("byte left out", lambda raw, at, _: raw[:at] + raw[at + 1 :]),
    ]


def structural(world: World, rng: random.Random) -> Iterator[tuple[str, str, Objects]]:
    """What is done with whole objects: the kind, the name that suffers, the archive after it."""
    objects = world.objects
    for name, raw in objects.items():
        _, generation, kind, last = name.split("/")
        yield "removed", name, {key: value for key, value in objects.items() if key != name}
        at = rng.randrange(len(raw))
        for what, alter in alterations()[::2][:1] + alterations()[1::2]:
            altered = alter(raw, at, rng)
            if altered != raw:
                yield what, name, objects | {name: altered}
        yield "emptied", name, objects | {name: b""}
        yield "random bytes", name, objects | {name: rng.randbytes(len(raw))}
        siblings = [key for key in objects if f"/{generation}/{kind}/" in key and key != name]
        for sibling in siblings:
            yield "replaced by a sibling", name, objects | {name: objects[sibling]}
        another = OLD if generation == NEW else NEW
        for key in (key for key in objects if f"/{another}/{kind}/" in key):
            if kind == "packs" or key.endswith(last):
                yield "replaced by another generation's", name, objects | {name: objects[key]}
        for key in (key for key in world.other if f"/{kind}/" in key):
            if kind == "packs" or key.endswith(last):
                yield "replaced by another database's", name, objects | {name: world.other[key]}
        if kind != "packs":
            copy = f"{name.rpartition('/')[0]}/{(int(last, 16) + 101):0{len(last)}x}"
            yield "copied to a later place", copy, objects | {copy: raw}


def set_back(world: World) -> Iterator[tuple[str, str, Objects]]:
    """The newest generation as it was earlier."""
    for first in range(1, LAST, 2):
        gone = {
            name
            for name in world.objects
            if (f"{NEW}/deltas/" in name and parse_seq(name) >= first)
            or (f"{NEW}/snapshots/" in name and parse_seq(name) >= first)
        }
        left = {name: raw for name, raw in world.objects.items() if name not in gone}
        yield "set back", deltas_name(NEW, first), left


def unseen(kind: str, name: str) -> bool:
    """Whether only a head could tell: a snapshot before the newest one, as retention removes them, and the
    end of a generation that another one follows."""
    if kind != "removed":
        return False
    older = "/snapshots/" in name and name != snapshot_name(NEW, 8)
    return older or name == deltas_name(OLD, LAST - 1)


async def campaign(cases: int, seed: int) -> Campaign:
    """One case in 25 is a large one."""
    with tempfile.TemporaryDirectory() as directory:
        world = await build(Path(directory), seed)
        run = Campaign(world, Path(directory), random.Random(seed))
        if await run._restore("untouched", world.objects) is None:
            raise Broken("the untouched archive is refused")
        await run.large(cases // 25)
        await run.small(cases - cases // 25)
    return run


def main() -> None:
    """Run, and print what was done and how often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started = time.monotonic()
    run = asyncio.run(campaign(args.cases, args.seed))
    for kind, count in sorted(run.counts.items()):
        print(f"{count:8,}  {kind}")
    print(f"{run.counts.total():8,}  cases in {time.monotonic() - started:.0f} s; nothing went unnoticed")
    for outcome, count in sorted(run.outcomes.items()):
        print(f"{count:8,}  large: {outcome}")


if __name__ == "__main__":
    main()
