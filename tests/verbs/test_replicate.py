"""When a batch closes, what is told of the source, and how the loop ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from syncd.errors import SourceError
from syncd.log import Event
from syncd.replica import Replica
from syncd.replicate import Replicator
from syncd.source.capture import Capture, Progress
from syncd.state import read_status
from tests.verbs.bench import Bench

ROW = "INSERT INTO t (a) VALUES (randomblob(3000))"


async def until(condition: Callable[[], bool]) -> None:
    """The loop runs on the fake clock; only its threads take real time."""
    for _ in range(200_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to pass")


@asynccontextmanager
async def running(bench: Bench, replica: Replica, **settings: int) -> AsyncIterator[Replicator]:
    replicator = bench.replicator(replica, **settings)
    task = asyncio.ensure_future(replicator.run())
    try:
        yield replicator
    finally:
        task.cancel()
        await asyncio.wait([task])
        await replicator.close()


def seq(replica: Replica) -> int:
    return -1 if replica.chain is None else replica.chain.seq


async def test_a_batch_closes_after_its_delay(bench: Bench) -> None:
    async with bench.replica() as replica, running(bench, replica):
        await until(lambda: seq(replica) == 0)
        opened = bench.clock.seconds
        bench.sql(ROW)
        await until(lambda: replica.applied == 1)
        assert bench.clock.seconds - opened >= 5.0
        assert replica.shadow.path.read_bytes() == bench.path.read_bytes()


async def test_a_full_batch_does_not_wait(bench: Bench) -> None:
    async with bench.replica() as replica, running(bench, replica, max_bytes=4096) as replicator:
        await until(lambda: seq(replica) == 0)
        replicator._max_delay = 1e9
        bench.sql("INSERT INTO t (a) VALUES (randomblob(100000))")
        await until(lambda: seq(replica) >= 1)
    async with bench.replica() as replica:
        await bench.capture(replica)
        assert replica.shadow.path.read_bytes() == bench.path.read_bytes()


async def test_a_source_that_is_gone_is_told_once_and_looked_for(bench: Bench) -> None:
    moved = bench.path.with_name("moved.db")
    async with bench.replica() as replica, running(bench, replica):
        await until(lambda: seq(replica) == 0)
        bench.path.rename(moved)
        await until(lambda: bool(bench.log.of(Event.SOURCE_LOST)))
        await until(lambda: read_status(bench.state / "state.db").source_state == "failing")
        assert "does not exist" in read_status(bench.state / "state.db").source_error
        moved.rename(bench.path)
        await until(lambda: read_status(bench.state / "state.db").source_state == "ok")
    assert len(bench.log.of(Event.SOURCE_LOST)) == 1


async def test_a_source_without_a_quiet_moment_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        busy = Progress(
            dirty=False, boundary=True, full=False, settled=True, first_ms=0, busy="being written"
        )
        monkeypatch.setattr(Capture, "poll", lambda _: busy)
        async with running(bench, replica):
            await until(lambda: bool(bench.log.of(Event.SOURCE_BUSY)))
        replicator = bench.replicator(replica)
        assert not await replicator.catch_up(patience=1.0)
        await replicator.close()
    assert bench.log.of(Event.SOURCE_BUSY) == [{"reason": "being written"}]


async def test_catching_up_raises_where_there_is_nothing(bench: Bench) -> None:
    bench.path.unlink()
    async with bench.replica() as replica:
        replicator = bench.replicator(replica)
        with pytest.raises(SourceError):
            await replicator.catch_up(patience=1.0)
        await replicator.close()


async def test_a_position_moves_without_a_delta(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        before = replica.chain
        bench.path.touch()  # written, and not changed
        assert await bench.capture(replica) == 0
        after = await replica.state.chain()
        assert before is not None
        assert after is not None
        assert after.position != before.position
        assert await replica.state.outgoing(0, 1 << 20) == []


async def test_a_batch_in_pieces_ends_with_a_boundary_after_a_restart(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        bench.sql("INSERT INTO t (a) VALUES (randomblob(9000))")
        replicator = bench.replicator(replica, max_bytes=1)
        while not (await replicator._poll()).full:
            pass
        await replicator._seal(replicator._capture.take())
        await replicator.close()
        assert replica.chain is not None
        assert (replica.chain.seq, replica.chain.boundary, replica.chain.position) == (1, False, "")
    async with bench.replica() as replica:
        assert await bench.capture(replica) == 2
        assert replica.chain is not None
        assert replica.chain.boundary
        await bench.ship(replica)
    assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_redo_is_dropped_when_there_is_much_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.replicate._REDO_BYTES", 20_000)
    async with bench.replica() as replica:
        replicator = bench.replicator(replica)
        lengths = []
        for _ in range(8):
            bench.sql("UPDATE t SET a = randomblob(9000)")
            while not await replicator.catch_up(patience=1.0):
                pass
            lengths.append(len([row async for row in replica.state.redo()]))
        await replicator.close()
    assert 0 in lengths
    assert 0 < max(lengths) < 4
