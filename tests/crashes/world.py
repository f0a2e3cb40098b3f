"""A bench whose target is a directory, and what must be true of it after every end.

- What was acknowledged is what the log and the state say: sealed, or stored in the target.
- After the end a fresh process goes on with the files as they lie, and comes to where the application is.
- Nothing is left over then.
"""

import os
import re
import sqlite3
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from syncd.clock import Clock
from syncd.errors import StateError
from syncd.log import Event
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.state import Status, read_status
from syncd.store.directory import DirectoryStore
from syncd.store.iam import SELF_TESTS
from tests.crashes.pointed import PointedStore
from tests.crashes.points import Fuse
from tests.support import oracle
from tests.verbs.bench import ROW, Bench, restore

_MOST_RESTORES: Final = 3
_SELF_TESTS: Final = f"target/{SELF_TESTS}"
_TWO_DAYS_NS: Final = 2 * 86_400_000_000_000
_LITTER: Final = re.compile(r"(^|/)(\.(?!syncd-probe$).*|~.*|syncd-drill-.*|.*\.(partial|recover))$")


class DatedStore(DirectoryStore):
    """A directory target whose clock is the test's."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root)
        self._clock = clock

    @override
    def _publish(self, temporary: Path, path: Path, data: bytes) -> None:
        ns = self._clock.now_ms() * 1_000_000
        os.utime(temporary, ns=(ns, ns))
        super()._publish(temporary, path, data)


class World(Bench):
    """One directory: the application's database, syncd's state, the target, and where restores go."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.target = directory / "target"
        self.out = directory / "out"
        self.before = directory
        self.fuse: Fuse | None = None

    @override
    def store(self) -> DatedStore | PointedStore:
        store = DatedStore(self.target, self.clock)
        return store if self.fuse is None else PointedStore(store, self.fuse)

    def pointed(self) -> PointedStore:
        """The store while the fuse is there."""
        store = self.store()
        assert isinstance(store, PointedStore)
        return store

    def place(self, state: str, target: str) -> None:
        """Where the state and the target are, from the directory on."""
        self.state, self.target = self.directory / state, self.directory / target

    def at(self, directory: Path) -> "World":
        """The same, with the files that lie there; what was logged so far is of no account."""
        world = World(directory)
        world.before = self.before
        world.place(*(str(each.relative_to(self.directory)) for each in (self.state, self.target)))
        world.clock.ms, world.clock.seconds = self.clock.ms, self.clock.seconds
        world.truth.update(self.truth)
        return world

    def now(self) -> bytes:
        """The application's database as committed."""
        scratch = self.directory.with_name(f"{self.directory.name}-fold")
        with self.fuse.quietly() if self.fuse else nullcontext():
            if not Path(f"{self.path}-wal").exists():
                return self.path.read_bytes()
            scratch.mkdir(exist_ok=True)
            return oracle.fold(self.path, scratch).read_bytes()

    @override
    async def capture(self, replica: Replica, *, max_bytes: int = 8 << 20) -> int:
        replicator = self.replicator(replica, max_bytes=max_bytes)
        try:
            while not await replicator.catch_up(patience=1.0):
                pass  # the fake clock's patience is short, a tick of the real one is not
        finally:
            await replicator.close()
        assert replica.chain is not None
        self.clock.advance(1.0)
        self.truth[replica.chain.seq] = self.now()
        return replica.chain.seq

    def crash_application(self, *statements: str) -> None:
        """The application writes in WAL mode and is killed: its log stays, its wal-index goes."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for statement in statements:
                connection.execute(statement)
            left = {name: self._bytes(name) for name in ("", "-wal")}
        with self.fuse.quietly() if self.fuse else nullcontext():
            for name, data in left.items():
                Path(f"{self.path}{name}").write_bytes(data)

    def _bytes(self, suffix: str) -> bytes:
        with self.fuse.quietly() if self.fuse else nullcontext():
            return Path(f"{self.path}{suffix}").read_bytes()

    def status(self) -> Status | None:
        """What the state says; None where there is none yet."""
        try:
            return read_status(self.state / "state.db")
        except StateError:
            return None


@dataclass(slots=True)
class Claims:
    """What was acknowledged: the generation, the last seq that was sealed, and seqs that the target has."""

    generation: str | None = None
    sealed: int = 0
    stored: set[int] = field(default_factory=set)


def claims(world: World, left: World) -> Claims:
    """By the log that `world` kept, and by the state in `left`; settles the truth of the last seq."""
    found = Claims()
    for event, fields in world.log.lines:
        match event:
            case Event.DELTA_SEALED:
                found.sealed = max(found.sealed, int(str(fields["seq"])))
            case Event.DELTAS_STORED:
                found.stored.add(int(str(fields["last_seq"])))
            case Event.SNAPSHOT_STORED:
                found.stored.add(int(str(fields["seq"])))
            case Event.GENERATION_STARTED:
                found.generation = str(fields["generation"])
            case _:
                pass
    status = left.status()
    if status is not None and status.chain is not None:
        found.generation = found.generation or status.chain.generation
        found.sealed = max(found.sealed, status.chain.seq)
        if status.chain.boundary:
            left.truth.setdefault(status.chain.seq, left.now())
        found.stored |= {each.stored for each in status.targets if each.stored is not None}
    found.stored &= left.truth.keys()
    return found


async def goes_on(left: World, claimed: Claims) -> list[str]:
    """A fresh process takes over; returns what is wrong then."""
    wrong: list[str] = []
    async with left.replica() as replica:
        if claimed.generation is not None:
            if replica.chain is None or replica.chain.generation != claimed.generation:
                wrong.append("the generation was given up")
            elif replica.chain.seq < claimed.sealed:
                wrong.append(f"seq {claimed.sealed} was sealed, the state ends at {replica.chain.seq}")
        left.sql("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a BLOB)", ROW)
        seq = await left.capture(replica)
        shipper = Shipper(replica, "main", left.store())
        await shipper.ship()
        await shipper.snapshot("asked for")
        if (await replica.state.target("main")).stored != seq:
            wrong.append(f"seq {seq} was not stored")
    wrong += await restorable(left, {*sorted(claimed.stored)[-_MOST_RESTORES:], seq})
    names = [path.relative_to(left.directory).as_posix() for path in litter(left.directory)]
    return wrong + [f"{name} was left over" for name in names if not name.startswith(_SELF_TESTS)]


async def restorable(world: World, seqs: set[int]) -> list[str]:
    """Those that do not come back byte for byte."""
    wrong: list[str] = []
    to = world.directory / "restored.db"
    for seq in sorted(seqs):
        await restore(world.store(), to, seq=seq)
        if to.read_bytes() != world.truth[seq]:
            wrong.append(f"seq {seq} came back other than it was")
        to.unlink()
    return wrong


def litter(directory: Path) -> list[Path]:
    """Files that should not be there when nothing runs."""
    return [path for path in directory.rglob("*") if _LITTER.search(path.relative_to(directory).as_posix())]


def age(directory: Path) -> None:
    """What was left over is two days old."""
    for path in litter(directory):
        then = path.lstat().st_mtime_ns - _TWO_DAYS_NS
        os.utime(path, ns=(then, then))
