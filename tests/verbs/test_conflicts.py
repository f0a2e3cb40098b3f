"""Another daemon's objects under our names: noticed, and left alone."""

import dataclasses

import pytest

from syncd.errors import ConflictError
from syncd.log import Event
from syncd.ship import Shipper
from syncd.store.memory import Held
from tests.verbs.bench import ROW, Bench, restore


@pytest.mark.parametrize("theirs", [b"", b"not a bundle"])
async def test_a_bundle_of_another_daemon_is_a_conflict(bench: Bench, theirs: bytes) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        assert replica.chain is not None
        name = f"generations/{replica.chain.generation}/deltas/{1:016x}"
        bench.held[name] = Held(theirs, 0)
        bench.sql(ROW)
        await bench.capture(replica)
        with pytest.raises(ConflictError, match="was written by another daemon"):
            await bench.ship(replica)


async def test_a_state_that_was_copied_is_a_conflict(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    bench.copy_state(bench.directory / "copy")
    async with bench.replica() as replica:
        bench.sql(ROW)
        await bench.capture(replica)
        await bench.ship(replica)
    async with bench.replica(state=bench.directory / "copy") as replica:
        await bench.capture(replica)
        with pytest.raises(ConflictError):
            await Shipper(replica, "main", bench.store()).run()
        target = await replica.state.target("main")
    assert target.state == "conflict"
    assert "another daemon" in target.error
    assert bench.log.of(Event.TARGET_CONFLICTED)


async def test_a_conflict_ends_in_a_generation_of_its_own(bench: Bench) -> None:
    copy = bench.directory / "copy"
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        assert replica.chain is not None
        first = replica.chain.generation
    bench.copy_state(copy)
    async with bench.replica() as replica:
        bench.sql(ROW)
        await bench.capture(replica)
        await bench.ship(replica)
    mine = bench.path.read_bytes()
    async with bench.replica(state=copy) as replica:
        bench.sql(ROW)
        await bench.capture(replica)
        with pytest.raises(ConflictError):
            await Shipper(replica, "main", bench.store()).run()
    bench.clock.advance(5)
    async with bench.replica(state=copy) as replica:
        assert replica.chain is not None
        assert (replica.chain.seq, replica.chain.generation > first) == (0, True)
        await bench.ship(replica)
        bench.sql(ROW)
        await bench.capture(replica)
        await bench.ship(replica)
        assert (await replica.state.target("main")).state == "ok"
    async with bench.replica() as replica:  # the first one goes on in its own
        assert replica.chain is not None
        assert replica.chain.generation == first
    to = bench.directory / "of-the-first.db"
    await restore(bench.store(), to, generation=first)
    assert to.read_bytes() == mine
    assert (await bench.restore())[1] == bench.path.read_bytes()
    (started, *_) = [line for line in bench.log.of(Event.GENERATION_STARTED) if "another daemon" in str(line)]
    assert "main" in str(started["reason"])


async def test_an_epoch_of_another_daemon_is_a_conflict(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        assert replica.chain is not None
        bench.held[f"generations/{replica.chain.generation}/epochs/{1:08x}"] = Held(b"theirs", 0)
        with pytest.raises(ConflictError):
            await bench.ship(replica)


async def test_a_snapshot_of_another_daemon_is_a_conflict(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        assert replica.chain is not None
        bench.held[f"generations/{replica.chain.generation}/snapshots/{0:016x}"] = Held(b"theirs", 0)
        with pytest.raises(ConflictError, match="snapshots/0000000000000000 was written by another daemon"):
            await bench.ship(replica)
        assert (await replica.state.target("main")).stored is None


async def test_a_snapshot_at_another_time_is_a_conflict(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        assert replica.chain is not None
        await replica.state.snapshots.begin("main", 0, first=True)
        replica.chain = dataclasses.replace(replica.chain, captured_ms=1)
        with pytest.raises(ConflictError):
            await bench.ship(replica)
