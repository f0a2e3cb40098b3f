"""A replica, an application's database and a store, all small: what the tests of the verbs share."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from syncd.contents import find_plan
from syncd.replica import Replica, open_replica
from syncd.replicate import Replicator
from syncd.restore import Restore, Restored
from syncd.ship import Shipper
from syncd.store.base import Store
from syncd.store.memory import Held, MemoryStore
from tests.support.fakes import IDENTITY, SEALING, SIGNING_KEY, FakeClock, Recorder

NAME = "chat"
TARGETS = (("main", "memory:"),)
ROW = "INSERT INTO t (a) VALUES (randomblob(3000))"


class Bench:
    """One directory with an application's database (journal_mode=delete, always closed) and a state.

    `truth` has the bytes of the database at every seq that was sealed.
    """

    def __init__(self, directory: Path, *, held: dict[str, Held] | None = None) -> None:
        self.directory = directory
        self.path = directory / "chat.db"
        self.state = directory / "state"
        self.held = {} if held is None else held
        self.clock = FakeClock()
        self.log = Recorder()
        self.truth: dict[int, bytes] = {}

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=off")
            for statement in statements:
                connection.execute(statement)

    def store(self) -> Store:
        return MemoryStore(held=self.held, clock=self.clock)

    @asynccontextmanager
    async def replica(
        self, targets: tuple[tuple[str, str], ...] = TARGETS, state: Path | None = None
    ) -> AsyncIterator[Replica]:
        replica = await self.open(targets, state)
        try:
            yield replica
        finally:
            await replica.close()

    async def open(
        self, targets: tuple[tuple[str, str], ...] = TARGETS, state: Path | None = None
    ) -> Replica:
        return await open_replica(
            NAME, state or self.state, sealing=SEALING, targets=targets, clock=self.clock, log=self.log
        )

    def replicator(self, replica: Replica, *, max_bytes: int = 8 << 20) -> Replicator:
        return Replicator(replica, self.path, max_delay=5.0, max_bytes=max_bytes, poll_interval=1.0)

    async def capture(self, replica: Replica, *, max_bytes: int = 8 << 20) -> int:
        """Seal what is committed; returns the seq reached."""
        replicator = self.replicator(replica, max_bytes=max_bytes)
        try:
            while not await replicator.catch_up(patience=1.0):
                pass  # the fake clock's patience is short, a tick of the real one is not
        finally:
            await replicator.close()
        assert replica.chain is not None
        self.clock.advance(1.0)
        self.truth[replica.chain.seq] = self.path.read_bytes()
        return replica.chain.seq

    async def ship(self, replica: Replica, store: Store | None = None, target: str = "main") -> None:
        await Shipper(replica, target, store or self.store()).ship()

    async def restore(
        self, *, seq: int | None = None, at_ms: int | None = None, store: Store | None = None
    ) -> tuple[Restored, bytes]:
        to = self.directory / "restored.db"
        restored = await restore(store or self.store(), to, seq=seq, at_ms=at_ms)
        raw = to.read_bytes()
        to.unlink()
        assert not list(self.directory.glob(".restored*"))
        return restored, raw

    def copy_state(self, to: Path) -> None:
        """The state directory as a power cut at this moment would leave it."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.state, to)


async def stop(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


class NoProgress:
    def begin(self, total_bytes: int) -> None:
        pass

    def advance(self, fetched_bytes: int) -> None:
        pass


async def restore(
    store: Store,
    to: Path,
    *,
    seq: int | None = None,
    at_ms: int | None = None,
    generation: str | None = None,
    force: bool = False,
) -> Restored:
    plan, _ = await find_plan(
        store,
        database=NAME,
        verify_key=SIGNING_KEY.verify_key,
        seq=seq,
        at_ms=at_ms,
        generation=generation,
    )
    verb = Restore(
        store,
        identity=IDENTITY,
        verify_key=SIGNING_KEY.verify_key,
        database=NAME,
        progress=NoProgress(),
    )
    return await verb.run(plan, to, force=force)
