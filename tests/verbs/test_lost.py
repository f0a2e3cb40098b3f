"""Objects that a target acknowledged and does not have: told, and got over by the next snapshot."""

import asyncio
from pathlib import Path

import pytest

from syncd.errors import ArchiveError, NoRestorePoint
from syncd.log import Event
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.store.memory import Held
from tests.support.faultstore import Fault, FaultStore
from tests.support.limits import LimitedStore
from tests.verbs.bench import ROW, Bench, stop

DAY = 24 * 3600.0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.sql("CREATE TABLE t (a)", ROW)
    return bench


async def advance(bench: Bench, replica: Replica, shipper: Shipper) -> int:
    """One more bundle; its seq."""
    bench.sql(ROW)
    seq = await bench.capture(replica)
    await shipper.ship()
    return seq


def names(bench: Bench, kind: str) -> list[str]:
    return sorted(name for name in bench.held if f"/{kind}/" in name)


async def test_a_target_set_back_over_a_change_of_epoch(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        before = dict(bench.held)
        bench.clock.advance(DAY)
        await advance(bench, replica, shipper)
        await advance(bench, replica, shipper)
        assert len(names(bench, "epochs")) == 2
        bench.held.clear()
        bench.held.update(before)
        await bench.ship(replica)
        await bench.ship(replica)
        assert len(bench.log.of(Event.TARGET_ROLLED_BACK)) == 1
        assert replica.chain is not None
    assert (await bench.restore())[1] == bench.truth[replica.chain.seq]


@pytest.mark.parametrize("kind", ["deltas", "packs", "snapshots", "epochs"])
@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize("again", [False, True], ids=["same process", "after a restart"])
async def test_the_next_snapshot_gets_over_any_loss(
    bench: Bench, kind: str, which: int, *, again: bool
) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        for _ in range(3):
            await advance(bench, replica, shipper)
        bench.clock.advance(DAY)
        await advance(bench, replica, shipper)
        await shipper.snapshot("a first one behind")
        for _ in range(3):
            await advance(bench, replica, shipper)
        lost = names(bench, kind)[which]
        del bench.held[lost]
        if again:
            shipper = Shipper(replica, "main", bench.store())
        await shipper.snapshot("it is due")
        await shipper.ship()
        last = await advance(bench, replica, shipper)
    for seq in (last - 1, last):
        assert (await bench.restore(seq=seq))[1] == bench.truth[seq]


async def test_a_middle_bundle_that_was_not_kept(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        seqs = [await advance(bench, replica, shipper) for _ in range(4)]
        lost = names(bench, "deltas")[1]
        del bench.held[lost]
        assert (await bench.restore(seq=seqs[0]))[1] == bench.truth[seqs[0]]
        for seq in seqs[1:]:
            with pytest.raises((ArchiveError, NoRestorePoint)):
                await bench.restore(seq=seq)
        taken = await shipper.snapshot("it is due")
        assert taken is not None
        assert bench.log.of(Event.TARGET_LOST) == [{"target": "main", "missing": [lost]}]
        job = (await replica.state.jobs.all())["look main"]
        assert not job.ok
        assert lost in job.detail
        bench.held[lost.replace("deltas/", "deltas/not-ours-")] = Held(b"", 0)
        after = await advance(bench, replica, shipper)
        await shipper.snapshot("soon")
        assert not (await replica.state.jobs.all())["look main"].ok, "it can be seen for a day"
        bench.clock.advance(DAY)
        await shipper.snapshot("the next day")
        assert (await replica.state.jobs.all())["look main"].ok
    for seq in (seqs[0], taken.seq, after):
        assert (await bench.restore(seq=seq))[1] == bench.truth[seq]


async def test_a_pack_that_was_not_kept_is_told(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        (lost,) = names(bench, "packs")
        del bench.held[lost]
        last = await advance(bench, replica, shipper)
        await shipper.snapshot("it is due")
        assert bench.log.of(Event.TARGET_LOST) == [{"target": "main", "missing": [lost]}]
        job = (await replica.state.jobs.all())["look main"]
        assert not job.ok
        assert lost in job.detail
    assert (await bench.restore())[1] == bench.truth[last]


async def test_nothing_is_told_where_nothing_is_lost(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        for number in range(6):
            await advance(bench, replica, shipper)
            if number % 2:
                bench.clock.advance(DAY)
                await shipper.snapshot("it is due")
        assert bench.log.of(Event.TARGET_LOST) == bench.log.of(Event.TARGET_ROLLED_BACK) == []
        assert "look main" not in await replica.state.jobs.all()


@pytest.mark.parametrize("noticed", ["after a failure", "within an hour"])
async def test_a_target_that_is_emptied_meanwhile(bench: Bench, noticed: str) -> None:
    async with bench.replica() as replica:
        store = FaultStore(bench.store())
        shipper = Shipper(replica, "main", store)
        await bench.capture(replica)
        await shipper.ship()
        await advance(bench, replica, shipper)
        bench.held.clear()
        if noticed == "after a failure":
            store._faults[store.calls + 1] = Fault.FAIL
            running = asyncio.create_task(shipper.run())
        else:
            bench.clock.advance(3600.0)
            running = asyncio.create_task(shipper.run())
        bench.sql(ROW)
        last = await bench.capture(replica)
        for _ in range(2000):
            if (await replica.state.target("main")).stored == last:
                break
        await stop(running)
        assert len(bench.log.of(Event.TARGET_ROLLED_BACK)) == 1
    assert (await bench.restore())[1] == bench.truth[last]


async def test_a_hole_has_a_snapshot_taken(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        for _ in range(3):
            await advance(bench, replica, shipper)
        del bench.held[names(bench, "deltas")[1]]
        assert not shipper.snapshot_due.is_set()
        bench.clock.advance(3600.0)
        await advance(bench, replica, shipper)
        assert shipper.snapshot_due.is_set()
        await shipper.snapshot("it is due")
        assert not shipper.snapshot_due.is_set()


async def test_who_may_not_list_looks_with_the_credentials_of_who_may(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(
            replica,
            "main",
            LimitedStore(bench.held, bench.clock, read=lambda name: "/packs/" not in name),
            listing=bench.store(),
        )
        await bench.capture(replica)
        await shipper.ship()
        await advance(bench, replica, shipper)
        del bench.held[names(bench, "deltas")[-1]]
        bench.clock.advance(3600)
        await advance(bench, replica, shipper)
        assert len(bench.log.of(Event.TARGET_ROLLED_BACK)) == 1
