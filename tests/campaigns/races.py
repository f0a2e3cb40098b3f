"""Two daemons, one archive: every call to the store is held up, and one at a time is let go, by seed.

    python -m tests.campaigns.races [--races 1000] [--seed 1]

- A call waits twice: before the store does it, and before its answer arrives.
- `start`: two states that know nothing of each other begin at once. `take over`: one takes an archive over
  while its daemon ships deltas, takes snapshots, begins again behind a gap, and sends heartbeats.
  `both`: two take it over at once.
- Rules: one daemon writes, whoever it is. Of one that was taken over no bundle is created behind the first
  object of the other, and nothing else but an answer to what it asked before. What was acknowledged to
  anybody is there, in an unbroken run; verify finds nothing; a restore takes the last one's generation.
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from typing_extensions import override

from syncd.archive import read_bundle
from syncd.contents import find_plan, read_contents
from syncd.errors import ArchiveClaimed, ConflictError
from syncd.format.names import CLAIMS, deltas_dir, parse_seq
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.store.base import ObjectInfo, Store
from syncd.store.memory import Held, MemoryStore
from syncd.store.probe import PROBE_NAME
from syncd.verify import verify
from tests.support.fakes import SIGNING_KEY
from tests.verbs.bench import NAME, Bench

SCENARIOS: Final = ("start", "take over", "both")
# What a daemon does from one delta to the next.
HABITS: Final = (
    ("ship",),
    ("ship", "gap"),
    ("ship", "snapshot"),
    ("ship", "snapshot", "gap", "beat", "rotate"),
)
_SECONDS: Final = 60.0
T = TypeVar("T")


class Conductor:
    """Lets one waiting call go at a time, when everybody who is alive waits. Some are faster than others."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._speeds = {name: rng.choice((1, 5, 50)) for name in ("A", "B", "C")}
        self._alive: set[str] = set()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    async def play(self, parts: dict[str, Coroutine[None, None, None]]) -> None:
        """Run all of them to their ends."""
        self._alive = set(parts)
        await asyncio.gather(*(self._part(name, part) for name, part in parts.items()))

    async def turn(self, name: str) -> None:
        if name in self._alive:
            ticket = asyncio.get_running_loop().create_future()
            self._waiting.append((name, ticket))
            self._go_on()
            await ticket

    async def _part(self, name: str, part: Coroutine[None, None, None]) -> None:
        try:
            await part
        finally:
            self._alive.discard(name)
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting and {name for name, _ in self._waiting} >= self._alive:
            speeds = [self._speeds[name] for name, _ in self._waiting]
            (chosen,) = self._rng.choices(range(len(speeds)), speeds)
            _, ticket = self._waiting.pop(chosen)
            if not ticket.done():
                ticket.set_result(None)


@dataclass
class Site:
    """The store that all of them share, and who created what in which order."""

    conductor: Conductor
    held: dict[str, Held]
    created: list[tuple[str, str]] = field(default_factory=list)


class Reached(Store):
    """The shared store as one daemon reaches it."""

    def __init__(self, site: Site, name: str, bench: Bench) -> None:
        self._site, self._name = site, name
        self._inner = MemoryStore(held=site.held, clock=bench.clock)

    @property
    @override
    def url(self) -> str:
        return "memory:"

    @override
    async def put(self, name: str, data: bytes) -> None:
        async def create() -> None:
            new = name not in self._site.held
            await self._inner.put(name, data)
            if new:
                self._site.created.append((self._name, name))

        await self._call(create)

    @override
    async def get(self, name: str) -> bytes:
        return await self._call(lambda: self._inner.get(name))

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        async def collect() -> list[ObjectInfo]:
            return [info async for info in self._inner.objects(prefix, after=after)]

        for info in await self._call(collect):
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        return await self._call(lambda: self._inner.dirs(prefix))

    @override
    async def delete(self, name: str) -> None:
        await self._call(lambda: self._inner.delete(name))

    @override
    async def close(self) -> None:
        await self._inner.close()

    async def _call(self, action: Callable[[], Awaitable[T]]) -> T:
        await self._site.conductor.turn(self._name)
        try:
            return await action()
        finally:
            await self._site.conductor.turn(self._name)


class Daemon:
    """One state, and what was acknowledged to it."""

    def __init__(self, site: Site, name: str, bench: Bench, state: Path, rng: random.Random) -> None:
        self._site, self.name, self._bench, self._state, self._rng = site, name, bench, state, rng
        self.store = Reached(site, name, bench)
        self._habits = rng.choice(HABITS)
        self.acknowledged: set[tuple[str, int]] = set()
        self.error: ConflictError | None = None

    async def write(self, steps: int) -> None:
        """Ship whatever comes, until it is refused or has done so many things."""
        async with self._bench.replica(state=self._state) as replica:
            shipper = Shipper(replica, "main", self.store)
            try:
                await self._ship(replica, shipper)
                for _ in range(steps):
                    await self._step(replica, shipper)
            except ConflictError as e:
                self.error = e

    async def take_over(self, steps: int) -> None:
        """Take the archive over at some moment, and write then."""
        for _ in range(self._rng.randint(0, 80)):
            await self._site.conductor.turn(self.name)
        async with self._bench.replica(state=self._state) as replica:
            try:
                await Shipper(replica, "main", self.store).take_over()
            except ConflictError as e:
                self.error = e
                return
        await self.write(steps)

    async def _step(self, replica: Replica, shipper: Shipper) -> None:
        what = self._rng.choice(self._habits)
        await replica.touch()
        if what == "rotate":
            await replica.rotate()
        elif what == "gap":
            await replica.touch()
            replica.state._outbox_bytes = None
            await replica.state.limit_outbox(1)
        elif what == "snapshot":
            await shipper.snapshot("a race")  # overtakes the delta that waits
            await self._note(replica)
            await replica.touch()
        if what == "beat":
            await self._ship(replica, shipper)
            await shipper.beat()
        else:
            await self._ship(replica, shipper)

    async def _ship(self, replica: Replica, shipper: Shipper) -> None:
        try:
            await shipper.ship()
        finally:
            await self._note(replica)

    async def _note(self, replica: Replica) -> None:
        target = await replica.state.target("main")
        if replica.chain is not None and target.stored is not None:
            self.acknowledged.add((replica.chain.generation, target.stored))


@dataclass
class Templates:
    """States that captured the same database: three that know nothing, and one that has shipped it."""

    bench: Bench
    states: dict[str, Path]
    held: dict[str, Held]


async def make_templates(directory: Path) -> Templates:
    bench = Bench(directory)
    bench.sql("CREATE TABLE t (a)")
    states: dict[str, Path] = {}
    for name in ("A", "B", "C", "shipped"):
        states[name] = directory / f"template-{name}"
        bench.clock.advance(1)
        async with bench.replica(state=states[name]) as replica:
            await bench.capture(replica)
            if name == "shipped":
                await bench.ship(replica)
                await replica.touch()
                await bench.ship(replica)
    # The claim names the place of the template; what knows of it goes on from anywhere.
    return Templates(bench, states, bench.held)


class Race:
    """One race by its seed; `wrong` has what broke a rule, `late` counts answers to what was asked before."""

    def __init__(self, templates: Templates, directory: Path, scenario: str, seed: int) -> None:
        self.scenario = scenario
        self.wrong: list[str] = []
        self.late = 0
        self._rng = random.Random(f"{scenario} {seed}")
        self._templates = templates
        self._directory = directory
        held = {} if scenario == "start" else dict(templates.held)
        self.site = Site(Conductor(self._rng), held)
        self.daemons: dict[str, Daemon] = {}

    async def run(self) -> None:
        steps = self._rng.randint(1, 5)
        parts: dict[str, Coroutine[None, None, None]] = {}
        match self.scenario:
            case "start":
                for name in ("A", "B"):
                    parts[name] = self._daemon(name, name).write(steps)
            case "take over":
                parts["A"] = self._daemon("A", "shipped").write(self._rng.randint(5, 40))
                parts["B"] = self._daemon("B", "B").take_over(steps)
            case _:
                parts["A"] = self._daemon("A", "shipped").write(steps)
                for name in ("B", "C"):
                    parts[name] = self._daemon(name, name).take_over(steps)
        async with asyncio.timeout(_SECONDS):
            await self.site.conductor.play(parts)
            await self._check()

    def _daemon(self, name: str, template: str) -> Daemon:
        state = self._directory / name
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self._templates.states[template], state)
        daemon = Daemon(self.site, name, self._templates.bench, state, self._rng)
        self.daemons[name] = daemon
        return daemon

    async def _check(self) -> None:
        if self.scenario != "start":
            # Some were done before they could notice: what they do next is refused.
            for daemon in [daemon for daemon in self.daemons.values() if daemon.error is None]:
                await daemon.write(1)
        winners = [daemon for daemon in self.daemons.values() if daemon.error is None]
        others = [daemon for daemon in self.daemons.values() if daemon.error is not None]
        if len(winners) != 1:
            self.wrong.append(f"{len(winners)} go on: {[str(d.error) for d in others]}")
            return
        self.wrong += [f"{d.name}: {d.error!r}" for d in others if not isinstance(d.error, ArchiveClaimed)]
        if self.scenario == "start":
            (loser,) = others
            self.wrong += [f"the refused one created {n}" for who, n in self._beyond() if who == loser.name]
        else:
            self._check_order("A", {daemon.name for daemon in self.daemons.values()} - {"A"})
        await self._check_archive(winners[0])

    def _beyond(self) -> list[tuple[str, str]]:
        """What was created but for claims, the probe, and closings (which belong to who was closed)."""
        return [
            (who, name)
            for who, name in self.site.created
            if not name.startswith((CLAIMS, PROBE_NAME)) and not self._is_closing(name)
        ]

    def _is_closing(self, name: str) -> bool:
        if "/deltas/" not in name:
            return False
        _, generation, _, first = name.split("/")
        bundle = read_bundle(
            self.site.held[name].data,
            generation=generation,
            first_seq=int(first, 16),
            database=NAME,
            verify_key=SIGNING_KEY.verify_key,
        )
        return not bundle.deltas

    def _check_order(self, old: str, new: set[str]) -> None:
        beyond = self._beyond()
        start = next((at for at, (who, _) in enumerate(beyond) if who in new), len(beyond))
        late = [name for who, name in beyond[start:] if who == old]
        if len(late) > 1 or any("/deltas/" in name for name in late):
            self.wrong.append(f"{old} created {late} behind the first object of another")
        self.late += len(late)

    async def _check_archive(self, winner: Daemon) -> None:
        store = MemoryStore(held=self.site.held)
        key = SIGNING_KEY.verify_key
        report = await verify(store, database=NAME, verify_key=key, rng=self._rng)
        self.wrong += [str(finding) for finding in report.findings]
        plan, _ = await find_plan(store, database=NAME, verify_key=key)
        if plan.snapshot.generation not in {generation for generation, _ in winner.acknowledged}:
            self.wrong.append(f"a restore takes {plan.snapshot.generation}, not the last daemon's")
        reachable = await self._reachable(store)
        for daemon in self.daemons.values():
            lost = daemon.acknowledged - reachable
            if lost:
                self.wrong.append(f"acknowledged to {daemon.name} and gone: {sorted(lost)}")

    async def _reachable(self, store: Store) -> set[tuple[str, int]]:
        """Positions to which a snapshot and the bundles behind it lead."""
        contents = await read_contents(store, database=NAME, verify_key=SIGNING_KEY.verify_key)
        found: set[tuple[str, int]] = set()
        seqs: dict[str, set[int]] = {}
        for generation in contents.generations:
            there = seqs.setdefault(generation, set())
            for first in [parse_seq(i.name) async for i in store.objects(deltas_dir(generation))]:
                raw = self.site.held[f"{deltas_dir(generation)}{first:016x}"].data
                bundle = read_bundle(
                    raw,
                    generation=generation,
                    first_seq=first,
                    database=NAME,
                    verify_key=SIGNING_KEY.verify_key,
                )
                there |= {delta.seq for delta in bundle.deltas}
        for snapshot in contents.snapshots:
            seq = snapshot.seq
            found.add((snapshot.generation, seq))
            while seq + 1 in seqs[snapshot.generation]:
                seq += 1
                found.add((snapshot.generation, seq))
        return found


async def campaign(races: int, seed: int, directory: Path) -> tuple[Counter[str], list[str]]:
    """So many races, the scenarios in turn: how many of each, and what went wrong."""
    templates = await make_templates(directory)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(seed, seed + races):
        scenario = SCENARIOS[number % len(SCENARIOS)]
        race = Race(templates, directory, scenario, number)
        await race.run()
        counts[scenario] += 1
        counts["objects"] += len(race.site.created)
        counts["late"] += race.late
        wrong += [f"{scenario}, seed {number}: {what}" for what in race.wrong]
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.races")
    parser.add_argument("--races", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="syncd-races-") as directory:
        counts, wrong = asyncio.run(campaign(args.races, args.seed, Path(directory)))
    print("\n".join(wrong))
    print({**counts, "seconds": round(time.monotonic() - started, 1), "violations": len(wrong)})
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
