"""The whole way from database to archive, ended at every point there is, in every way there is.

A few dozen points of each kind by default; all of them with SYNCD_CRASHES=all.
"""

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.errors import StateError, StoreUnavailable
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.state import read_status
from tests.verbs.bench import Bench
from tests.verbs.fuse import Died, End, Fuse, FusedStore

EVERY = os.environ.get("SYNCD_CRASHES") == "all"
SLICE = 14


@dataclass(frozen=True)
class Step:
    """What the application does, and how syncd follows."""

    sql: tuple[str, ...]
    ship: bool = True
    reopen: bool = False
    max_bytes: int = 8 << 20


STEPS = (
    Step(("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)", "INSERT INTO t (a) VALUES (randomblob(90000))")),
    Step(("INSERT INTO t (a) VALUES (randomblob(90000))",), ship=False),
    Step(("UPDATE t SET a = randomblob(90000)", "INSERT INTO t (a) VALUES (zeroblob(50000))"), max_bytes=1),
    Step(("DELETE FROM t WHERE id > 1", "VACUUM"), reopen=True),
    Step(("INSERT INTO t (a) VALUES (randomblob(10))",), ship=False, reopen=True),
    Step(("PRAGMA page_size = 1024", "VACUUM"), ship=False),
    Step(("INSERT INTO t (a) VALUES (randomblob(5000))",)),
)


@dataclass
class Life:
    """Plays the steps beside `bench`; goes on after every failure, as the daemon does."""

    bench: Bench
    fuse: Fuse
    replica: Replica | None = None
    stored: set[int] = field(default_factory=set)

    async def play(self) -> None:
        for step in STEPS:
            self.bench.sql(*step.sql)
            while not await self._survives(self._follow(step)):
                await self._survives(self.close())
        await self._survives(self.close())

    async def _survives(self, work: Coroutine[None, None, None]) -> bool:
        """Do it; False where it failed or was cancelled, and the replica has to be opened again."""
        try:
            await work
        except (StateError, asyncio.CancelledError):
            task = asyncio.current_task()
            assert task is not None
            while task.uncancel():
                pass
            return False
        return True

    async def close(self) -> None:
        replica, self.replica = self.replica, None
        if replica is not None:
            await replica.close()

    async def _follow(self, step: Step) -> None:
        if step.reopen:
            await self.close()
        if self.replica is None:
            self.replica = await self.bench.open()
        await self.bench.capture(self.replica, max_bytes=step.max_bytes)
        if step.ship:
            shipper = Shipper(self.replica, "main", FusedStore(self.bench.store(), self.fuse))
            with contextlib.suppress(StoreUnavailable):
                await shipper.ship()
            await shipper.ship()
        stored = (await self.replica.state.target("main")).stored
        self.stored |= set() if stored is None else {stored}


def points(total: int) -> Iterator[int]:
    """All of them, or a slice that is spread evenly."""
    step = 1 if EVERY else max(1, total // SLICE)
    return iter(range(1, total + 1, step))


async def live(directory: Path, patch: pytest.MonkeyPatch, at: int, end: End) -> tuple[Life, bool]:
    """A life with an end at that point; whether it died there."""
    directory.mkdir()
    bench = Bench(directory)
    fuse = Fuse(bench.state, directory / "left", at, end)
    life = Life(bench, fuse)
    died = False
    with patch.context() as patched:
        fuse.install(patched)
        try:
            await life.play()
        except Died:
            died = True
    if died and life.replica is not None:  # what was left of it lies in the copy
        life.replica.shadow.close()
        await life.replica.state.close()
    return life, died


async def check(life: Life, state: Path) -> None:
    """A fresh process goes on with that state, and everything that counted as stored is there."""
    bench = life.bench
    generation = None
    with contextlib.suppress(StateError):  # it died before there was one
        status = read_status(state / "state.db")
        chain = status.chain
        if chain is not None:
            generation = chain.generation
            if chain.boundary:
                bench.truth.setdefault(chain.seq, bench.path.read_bytes())
        life.stored |= {target.stored for target in status.targets if target.stored is not None}
    async with bench.replica(state=state) as replica:
        seq = await bench.capture(replica)
        await bench.ship(replica)
        target = await replica.state.target("main")
        assert target.stored == seq
        assert replica.chain is not None
        assert generation in {None, replica.chain.generation}
    for each in life.stored | {seq}:
        assert (await bench.restore(seq=each))[1] == bench.truth[each]
    assert (await bench.restore())[1] == bench.path.read_bytes()


@pytest.mark.parametrize("end", [End.DIE, End.CUT])
async def test_death_at_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: End) -> None:
    life, died = await live(tmp_path / "whole", monkeypatch, 0, end)
    assert not died
    assert len(life.stored) >= 3
    for at in points(life.fuse.count):
        life, died = await live(tmp_path / f"{at}", monkeypatch, at, end)
        assert died
        await check(life, life.fuse.copy)


@pytest.mark.parametrize("end", [End.FAIL, End.CANCEL])
async def test_failure_at_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: End) -> None:
    life, _ = await live(tmp_path / "whole", monkeypatch, 0, end)
    for at in points(life.fuse.count):
        life, died = await live(tmp_path / f"{at}", monkeypatch, at, end)
        assert not died
        await check(life, life.bench.state)
        assert len(await life.bench.store().dirs("generations/")) <= 2
