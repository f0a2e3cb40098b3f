"""The world of a simulated history: clocks, stores whose every call can be the last, and one host.

- Time that passes is the same for all; what a clock shows is that plus its error.
- A `Line` is one process's way to a store. After its fuse has burnt nothing of that process reaches the
  store any more, and of the state directory counts what lay there at that moment.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from syncd.clock import Clock
from syncd.replica import Replica, open_replica
from syncd.replicate import Replicator
from syncd.ship import Shipper
from syncd.store.base import ObjectInfo
from syncd.store.memory import Held, MemoryStore
from tests.campaigns.calendar_oracle import Known, Position, View, look, reachable
from tests.support.fakes import SEALING, START_MS, Recorder
from tests.verbs.bench import NAME


class Died(BaseException):
    """The process is no more."""


@dataclass
class Time:
    """What really passed, in milliseconds."""

    ms: int = START_MS

    def advance(self, ms: int) -> None:
        self.ms += ms


@dataclass
class Watch(Clock):
    """Shows the time and its own error. Waiting takes no time of the day."""

    time: Time
    error_ms: int = 0
    waited: float = 0.0

    @override
    def now_ms(self) -> int:
        return self.time.ms + self.error_ms

    @override
    def monotonic(self) -> float:
        return self.time.ms / 1000 + self.waited

    @override
    async def sleep(self, seconds: float) -> None:
        self.waited += seconds
        await asyncio.sleep(0)


class Line(MemoryStore):
    """One process's way to a store. `rng` draws how often others come first."""

    def __init__(self, held: dict[str, Held], clock: Clock, rng: random.Random) -> None:
        super().__init__(held=held, clock=clock)
        self.calls = 0
        self.dead = False
        self.at = 0
        self.leave: Callable[[], None] = lambda: None
        self.leased, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self._rng = rng

    def arm(self, at: int, leave: Callable[[], None] = lambda: None) -> None:
        """Die at the so-manieth point from now; 0 is never."""
        self.at = self.calls + at if at else 0
        self.leave = leave

    @override
    async def put(self, name: str, data: bytes) -> None:
        await self._point()
        await super().put(name, data)
        await self._point()
        if name.startswith("leases/"):
            self.leased.set()

    @override
    async def get(self, name: str) -> bytes:
        await self._point()
        return await super().get(name)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        await self._point()
        async for info in super().objects(prefix, after=after):
            yield info

    @override
    async def delete(self, name: str) -> None:
        await self._point()
        await super().delete(name)
        await self._point()

    async def _point(self) -> None:
        if self.leased.is_set():
            await self.gate.wait()
        for _ in range(self._rng.randrange(3)):
            await asyncio.sleep(0)
        if self.dead:
            raise Died
        self.calls += 1
        if self.calls == self.at:
            self.dead = True
            self.leave()
            raise Died


@dataclass
class Target:
    """A store, and what could be restored from it when it was last looked at."""

    name: str
    clock: Watch
    held: dict[str, Held] = field(default_factory=dict)
    in_use: bool = True
    could: set[Position] = field(default_factory=set)
    newest: Position | None = None
    undeleted: list[tuple[int, frozenset[Position]]] = field(default_factory=list)
    known: Known = field(default_factory=Known)

    def view(self) -> View:
        return look(self.held, self.known)

    def restorable(self, truth: "dict[Position, Truth]") -> set[Position]:
        return reachable(self.view()) & truth.keys()


@dataclass(frozen=True)
class Truth:
    """The database at a position, and when it was captured by the host's clock."""

    raw: bytes
    captured_ms: int


class Host:
    """An application and the daemon beside it, whose state has one place: what is there at a start counts."""

    def __init__(self, directory: Path, clock: Watch, rng: random.Random) -> None:
        self.directory = directory
        self.path = directory / "chat.db"
        self.clock = clock
        self.log = Recorder()
        self.truth: dict[Position, Truth] = {}
        self.replica: Replica | None = None
        self._rng = rng
        self.state = directory / "state"
        self._left: Path | None = None
        self._lines: dict[str, tuple[Shipper, Line]] = {}

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=off")
            for statement in statements:
                connection.execute(statement)

    async def open(self, targets: list[Target]) -> Replica:
        if self.replica is None:
            self._lines.clear()
            self.replica = await open_replica(
                NAME,
                self.state,
                sealing=SEALING,
                targets=[(t.name, f"memory:{t.name}") for t in targets if t.in_use],
                clock=self.clock,
                log=self.log,
            )
        return self.replica

    def shipper(self, target: Target) -> tuple[Shipper, Line]:
        assert self.replica is not None
        if target.name not in self._lines:
            line = Line(target.held, target.clock, self._rng)
            self._lines[target.name] = Shipper(self.replica, target.name, line), line
        return self._lines[target.name]

    async def capture(self, *, max_bytes: int) -> Position:
        assert self.replica is not None
        replicator = Replicator(
            self.replica, self.path, max_delay=5.0, max_bytes=max_bytes, poll_interval=1.0
        )
        try:
            for _ in range(100):
                if await replicator.catch_up(patience=1.0):
                    break
        finally:
            await replicator.close()
        chain = self.replica.chain
        assert chain is not None
        assert chain.boundary
        here = chain.generation, chain.seq
        self.truth.setdefault(here, Truth(self.path.read_bytes(), chain.captured_ms))
        assert self.truth[here].raw == self.path.read_bytes()
        return here

    def leave(self) -> None:
        """The process dies now."""
        if self._left is None:
            self._left = self.directory / "left"
            shutil.copytree(self.state, self._left, ignore=shutil.ignore_patterns("*-shm"))

    async def stop(self) -> None:
        """In order; or, where the process has died, what it left is there for the next."""
        replica, self.replica = self.replica, None
        if replica is None:
            return
        if self._left is None:
            await replica.close()
            return
        replica.shadow.close()
        await replica.state.close()
        shutil.rmtree(self.state)
        self._left.rename(self.state)
        self._left = None

    async def lose_state(self) -> None:
        await self.stop()
        shutil.rmtree(self.state, ignore_errors=True)
