"""From the outbox to targets that fail, answer late, or belong to somebody else."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from syncd.errors import ArchiveError, StoreRefused, StoreUnavailable
from syncd.format.bundle import decode_bundle
from syncd.heads import Heads
from syncd.log import Event
from syncd.marks import drop_heartbeats
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.store.base import ObjectInfo
from syncd.store.memory import Held, MemoryStore
from syncd.store.wrap import PrefixStore
from tests.support.fakes import SIGNING_KEY
from tests.support.faultstore import Fault, FaultStore
from tests.verbs.bench import ROW, Bench, stop


def bundles(held: dict[str, Held]) -> list[list[int]]:
    return [
        [delta.seq for delta in decode_bundle(each.data)[0].deltas]
        for name, each in sorted(held.items())
        if "/deltas/" in name
    ]


async def test_a_target_begins_with_a_snapshot_and_goes_on_with_deltas(bench: Bench) -> None:
    async with bench.replica() as replica:
        assert await bench.capture(replica) == 0
        await bench.ship(replica)
        assert replica.stored.is_set()
        for _ in range(3):
            bench.sql(ROW)
            await bench.capture(replica)
        await bench.ship(replica)
        bench.sql(ROW)
        await bench.capture(replica)
        await bench.ship(replica)
        target = await replica.state.target("main")
    assert bundles(bench.held) == [[1, 2, 3], [4]]
    assert (target.cursor, target.stored, target.state) == (4, 4, "ok")
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth


async def test_nothing_is_asked_of_a_target_while_nothing_waits(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        store = FaultStore(bench.store())
        shipper = Shipper(replica, "main", store)
        await shipper.ship()
        before = store.calls
        await shipper.ship()
        assert store.calls == before


async def test_a_lost_acknowledgement_is_found_out(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        bench.sql(ROW)
        await bench.capture(replica)
        store = FaultStore(bench.store())
        shipper = Shipper(replica, "main", store)
        shipper._probed, shipper._look_at = True, math.inf
        store._faults[1] = Fault.LOSE_ACK
        with pytest.raises(StoreUnavailable):
            await shipper.ship()
        assert (await replica.state.target("main")).cursor == 0
        await shipper.ship()
        assert (await replica.state.target("main")).cursor == 1
    assert bundles(bench.held) == [[1]]


async def test_a_lost_acknowledgement_of_fewer_deltas_than_wait_now(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        bench.sql(ROW)
        await bench.capture(replica)
        # Behind two looks at claims.
        shipper = Shipper(replica, "main", FaultStore(bench.store(), {3: Fault.LOSE_ACK}))
        shipper._probed, shipper._look_at = True, math.inf
        with pytest.raises(StoreUnavailable):
            await shipper.ship()
        for _ in range(2):
            bench.sql(ROW)
            await bench.capture(replica)
        await shipper.ship()
        assert (await replica.state.target("main")).cursor == 3
    assert bundles(bench.held) == [[1], [2, 3]]
    assert (await bench.restore())[1] == bench.truth[3]


async def test_epochs_reach_the_target_before_what_they_open(bench: Bench) -> None:
    for _ in range(4):
        async with bench.replica() as replica:  # every process has an epoch of its own
            bench.sql(ROW)
            await bench.capture(replica)
            await bench.ship(replica)
    assert [int(name[-8:], 16) for name in sorted(bench.held) if "/epochs/" in name] == [1, 2, 3, 4]
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth
    async with bench.replica() as replica:
        assert len(await replica.state.epochs(0)) == 1


class DeadStore(MemoryStore):
    """Every call waits for ever."""

    @override
    async def _arrive(self) -> None:
        await asyncio.Event().wait()


async def test_a_dead_target_holds_no_other_back(bench: Bench) -> None:
    async with bench.replica((("dead", "memory:dead"), ("main", "memory:"))) as replica:
        await bench.capture(replica)
        dead = Shipper(replica, "dead", DeadStore())
        alive = Shipper(replica, "main", bench.store())
        hanging = asyncio.ensure_future(dead.ship())
        for _ in range(3):
            await alive.ship()
            bench.sql(ROW)
            await bench.capture(replica)
        await alive.ship()
        assert (await replica.state.target("main")).stored == 3
        assert not hanging.done()
        await stop(hanging)
    assert (await bench.restore())[1] == bench.truth[3]


async def test_what_a_retry_can_help_is_retried_with_a_growing_delay(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        faults = dict.fromkeys(range(1, 13), Fault.FAIL)
        shipper = Shipper(replica, "main", FaultStore(bench.store(), faults))
        task = asyncio.ensure_future(shipper.run())
        await replica.stored.wait()
        await stop(task)
    slept = bench.clock.slept[-12:]
    assert len(slept) == 12
    assert all(seconds <= min(60.0, 0.5 * 2**attempt) for attempt, seconds in enumerate(slept))
    assert [fields["attempt"] for fields in bench.log.of(Event.TARGET_FAILED)] == list(range(1, 13))
    assert len(bench.log.of(Event.TARGET_RECOVERED)) == 1


async def test_a_failure_is_visible_until_it_is_over(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        inner = bench.store()
        shipper = Shipper(replica, "main", FaultStore(inner, {1: Fault.FAIL}))
        seen: list[tuple[str, str]] = []
        sleep = bench.clock.sleep

        async def looking(seconds: float) -> None:
            target = await replica.state.target("main")
            seen.append((target.state, target.error))
            await sleep(seconds)

        bench.clock.sleep = looking  # type: ignore[method-assign]
        task = asyncio.ensure_future(shipper.run())
        await replica.stored.wait()
        await stop(task)
        assert seen == [("failing", "call 1 was told to fail")]
        target = await replica.state.target("main")
        assert (target.state, target.error) == ("ok", "")


class Overwriting(MemoryStore):
    """Ignores that a name exists, as some servers do."""

    @override
    async def put(self, name: str, data: bytes) -> None:
        self.held.pop(name, None)
        await super().put(name, data)


async def test_a_store_that_overwrites_is_parked(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await Shipper(replica, "main", Overwriting()).run()
        target = await replica.state.target("main")
    assert target.state == "refused"
    assert "overwrote" in target.error
    assert bench.log.of(Event.TARGET_REFUSED)


class Forbidden(MemoryStore):
    """Says no a few times, until somebody mends it."""

    refusals = 3

    @override
    async def _arrive(self) -> None:
        await super()._arrive()
        if self.refusals:
            self.refusals -= 1
            raise StoreRefused("no such bucket")


async def test_a_refusal_is_asked_again(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        task = asyncio.ensure_future(Shipper(replica, "main", Forbidden()).run())
        await replica.stored.wait()
        await stop(task)
    assert len(bench.log.of(Event.TARGET_FAILED)) == 3


async def test_a_snapshot_whose_acknowledgement_was_lost_is_taken_for_what_it_is(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        counting = FaultStore(MemoryStore())
        await bench.ship(replica, counting)
    for call in range(1, counting.calls + 1):
        again = Bench(bench.directory / str(call))
        again.directory.mkdir()
        again.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)", ROW)
        async with again.replica() as replica:
            await again.capture(replica)
            shipper = Shipper(replica, "main", FaultStore(again.store(), {call: Fault.LOSE_ACK}))
            with contextlib.suppress(StoreUnavailable):  # what fails anyway has no acknowledgement to lose
                await shipper.ship()
            await shipper.ship()
            target = await replica.state.target("main")
            assert (target.stored, target.state) == (0, "ok")
            again.sql(ROW)
            await again.capture(replica)
            await shipper.ship()
        assert (await again.restore(seq=0))[1] == again.truth[0]
        assert (await again.restore(seq=1))[1] == again.truth[1]


async def cut_tail(bench: Bench, replica: Replica) -> str:
    """Three shipments; then the newest bundle is gone. Its name."""
    await bench.capture(replica)
    await bench.ship(replica)
    for _ in range(2):
        bench.sql(ROW)
        await bench.capture(replica)
        await bench.ship(replica)
    newest = max(name for name in bench.held if "/deltas/" in name)
    del bench.held[newest]
    return newest


async def test_a_target_that_was_set_back_is_told_and_begins_again(bench: Bench) -> None:
    async with bench.replica() as replica:
        newest = await cut_tail(bench, replica)
        head = (await replica.state.target("main")).head
        await bench.ship(replica)
        assert bench.log.of(Event.TARGET_ROLLED_BACK) == [
            {"target": "main", "missing": [newest], "head": head}
        ]
        bench.sql(ROW)
        await bench.capture(replica)
        await bench.ship(replica)
        assert len(bench.log.of(Event.TARGET_ROLLED_BACK)) == 1
    for seq in (2, 3):
        assert (await bench.restore(seq=seq))[1] == bench.truth[seq]


async def test_a_snapshot_that_is_due_finds_it_too(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        bench.sql(ROW)
        await bench.capture(replica)
        await shipper.ship()
        for name in [name for name in bench.held if "/snapshots/" in name]:
            del bench.held[name]
        await shipper.ship()
        assert bench.log.of(Event.TARGET_ROLLED_BACK) == []
        assert await shipper.snapshot("it is due") is None
        await shipper.ship()
        assert len(bench.log.of(Event.TARGET_ROLLED_BACK)) == 1
    assert (await bench.restore())[1] == bench.truth[1]


async def test_who_may_not_list_is_not_told(bench: Bench) -> None:
    class Blind(MemoryStore):
        @override
        async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
            raise StoreRefused("it may not list")
            yield  # an async generator

    async with bench.replica() as replica:
        await cut_tail(bench, replica)
        await bench.ship(replica, Blind(held=bench.held, clock=bench.clock))
        assert bench.log.of(Event.TARGET_ROLLED_BACK) == []


async def test_the_head_of_a_target_is_that_of_its_newest_object(bench: Bench) -> None:
    async with bench.replica() as replica:
        heads = Heads(bench.store(), database="chat", verify_key=SIGNING_KEY.verify_key)
        await bench.capture(replica)
        for _ in range(3):
            await bench.ship(replica)
            assert replica.chain is not None
            newest = await heads.newest(replica.chain.generation)
            target = await replica.state.target("main")
            assert newest is not None
            assert (target.head, target.head_object) == (str(newest.head), newest.object)
            assert newest.head.seq == replica.chain.seq
            bench.sql(ROW)
            await bench.capture(replica)
        await bench.ship(replica)
        before = (await replica.state.target("main")).head
        await Shipper(replica, "main", bench.store()).snapshot("it is due")
        assert (await replica.state.target("main")).head == before


async def test_a_long_outage_ends_in_a_snapshot_of_what_changed(bench: Bench) -> None:
    async with bench.replica() as replica:
        replica.outbox_bytes = 40_000
        await bench.capture(replica)
        await bench.ship(replica)
        for turn in range(12):
            bench.sql(f"UPDATE t SET a = randomblob(9000) WHERE id = {turn % 2 + 1}", ROW)
            await bench.capture(replica)
        trimmed = bench.log.of(Event.OUTBOX_TRIMMED)
        assert trimmed
        waiting = await replica.state.outgoing(0, 1 << 30)
        assert 0 < sum(len(delta.sealed.sealed) for delta in waiting) <= 40_000
        before = len([name for name in bench.held if "/deltas/" in name])
        await bench.ship(replica)
        bench.sql(ROW)
        last = await bench.capture(replica)
        await bench.ship(replica)
        assert (await replica.state.target("main")).stored == last
    reasons = [line["reason"] for line in bench.log.of(Event.SNAPSHOT_STARTED)]
    assert reasons == ["the target begins", "12 deltas were given up"]
    assert len([name for name in bench.held if "/deltas/" in name]) == before + 1
    for seq in (0, last - 1, last):
        assert (await bench.restore(seq=seq))[1] == bench.truth[seq]


async def test_a_target_in_reach_keeps_the_outbox_small(bench: Bench) -> None:
    async with bench.replica() as replica:
        replica.outbox_bytes = 40_000
        await bench.capture(replica)
        await bench.ship(replica)
        for _ in range(12):
            bench.sql(ROW)
            await bench.capture(replica)
            await bench.ship(replica)
        assert not bench.log.of(Event.OUTBOX_TRIMMED)
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth


async def test_heartbeats_tell_an_idle_archive_from_a_stale_one(bench: Bench) -> None:
    heads = Heads(bench.store(), database="chat", verify_key=SIGNING_KEY.verify_key)
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await shipper.beat()
        assert not [name for name in bench.held if name.startswith("heartbeats/")]
        await bench.capture(replica)
        await shipper.ship()
        bench.clock.advance(7200)
        with pytest.raises(ArchiveError, match="is known to be whole until"):
            await heads.check_age(bench.clock.ms, 3_600_000)
        for _ in range(3):
            bench.clock.advance(60)
            await shipper.beat()
        assert len([name for name in bench.held if name.startswith("heartbeats/")]) == 2
        bench.clock.advance(60)
        assert await heads.check_age(bench.clock.ms, 3_600_000) == 60_000
        bench.held[f"heartbeats/{'7' + 'Z' * 25}"] = Held(b"anybody's", 0)
        assert await heads.check_age(bench.clock.ms, 3_600_000) == 60_000
        bench.sql(ROW)
        await bench.capture(replica)
        await shipper.beat()
        assert await heads.check_age(bench.clock.ms, 3_600_000) > 60_000, "what waits is not whole"
    await drop_heartbeats(bench.store())
    assert len([name for name in bench.held if name.startswith("heartbeats/")]) == 2


async def test_a_heartbeat_tells_that_the_tail_was_cut_off(bench: Bench) -> None:
    heads = Heads(bench.store(), database="chat", verify_key=SIGNING_KEY.verify_key)
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        bench.sql(ROW)
        await bench.capture(replica)
        await shipper.ship()
        await shipper.beat()
    assert await heads.check_age(bench.clock.ms, 0) == 0
    del bench.held[max(name for name in bench.held if "/deltas/" in name)]
    with pytest.raises(ArchiveError, match=r"reached seq 1 of .* what was newer is gone"):
        await heads.check_age(bench.clock.ms, 3_600_000)


async def test_an_idle_shipper_beats_at_its_interval_and_ships_in_between(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store(), heartbeat=600)
        task = asyncio.create_task(shipper.run())
        for _ in range(2000):
            if len(bench.log.of(Event.TARGET_BEAT)) >= 3:
                break
            await asyncio.sleep(0.001)
        assert [line["seq"] for line in bench.log.of(Event.TARGET_BEAT)[:3]] == [0, 0, 0]
        assert 600 in bench.clock.slept
        await stop(task)


class Unreachable(PrefixStore):
    """Takes no heartbeat the first time."""

    left = 1

    @override
    async def put(self, name: str, data: bytes) -> None:
        if name.startswith("heartbeats/") and self.left:
            self.left -= 1
            raise StoreUnavailable("no route to it")
        await super().put(name, data)


async def test_a_heartbeat_that_fails_is_told_and_sent_again(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        task = asyncio.create_task(
            Shipper(replica, "main", Unreachable(bench.store(), ""), heartbeat=600).run()
        )
        for _ in range(2000):
            if bench.log.of(Event.TARGET_RECOVERED):
                break
            await asyncio.sleep(0.001)
        await stop(task)
        assert [line["error"] for line in bench.log.of(Event.TARGET_FAILED)] == ["no route to it"]
        assert bench.log.of(Event.TARGET_BEAT)
        assert (await replica.state.target("main")).state == "ok"
