"""A snapshot stands still while capture goes on, and does not exist before it is complete."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from syncd import snapshot
from syncd.errors import StoreUnavailable
from syncd.log import Event
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.source.shadow import View
from syncd.store.memory import Held, MemoryStore
from tests.support.damage import flipped
from tests.support.faultstore import Fault, FaultStore
from tests.verbs.bench import Bench


class Pausing(MemoryStore):
    """Lets something happen before each pack is stored."""

    def __init__(self, bench: Bench, expected: int) -> None:
        super().__init__(held=bench.held)
        self.expected = expected
        self.reached, self.full, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.travelling = self.most = 0

    @override
    async def put(self, name: str, data: bytes) -> None:
        if "/packs/" in name:
            self.reached.set()
            self.travelling += 1
            self.most = max(self.most, self.travelling)
            if self.travelling == self.expected:
                self.full.set()
            try:
                await self.go.wait()
            finally:
                self.travelling -= 1
        await super().put(name, data)


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PACK_BYTES", 4 * 4096)


@pytest.mark.parametrize("large", [False, True])
async def test_a_few_packs_travel_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    expected = snapshot._SEALING if large else snapshot._UNDER_WAY
    monkeypatch.setattr(snapshot, "_LARGE_BYTES", 0 if large else 1 << 20)
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 9)
    async with bench.replica() as replica:
        await bench.capture(replica)
        store = Pausing(bench, expected)
        task = asyncio.ensure_future(Shipper(replica, "main", store).ship())
        async with asyncio.timeout(60):
            await store.full.wait()
        await asyncio.sleep(0.2)  # no more set out
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert (store.travelling, store.most) == (0, expected)
        assert packs(bench) == []
        store.go.set()
        await Shipper(replica, "main", store).ship()
    assert store.most == expected
    assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_its_files_stay_open_until_nobody_reads_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go = threading.Event(), threading.Event()
    read = View.read

    def slow(view: View, numbers: Sequence[int]) -> bytearray:
        reading.set()
        go.wait(60)
        assert view in replica.shadow.views
        done.append(read(view, numbers))
        return done[-1]

    done: list[bytearray] = []
    monkeypatch.setattr(View, "read", slow)
    async with bench.replica() as replica:
        await bench.capture(replica)
        task = asyncio.ensure_future(bench.ship(replica))
        assert await asyncio.to_thread(reading.wait, 60)
        task.cancel()
        asyncio.get_running_loop().call_later(0.2, go.set)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert done
        assert replica.shadow.views == []


async def test_capture_goes_on_meanwhile(bench: Bench) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 5)
    async with bench.replica() as replica:
        await bench.capture(replica)
        store = Pausing(bench, 1)
        task = asyncio.ensure_future(Shipper(replica, "main", store).ship())
        await store.reached.wait()
        bench.sql("UPDATE t SET a = randomblob(20000)")
        assert await bench.capture(replica) == 1
        bench.sql("DELETE FROM t WHERE id > 1", "VACUUM")
        assert await bench.capture(replica) == 2
        bench.sql("PRAGMA page_size = 1024", "VACUUM")
        assert await bench.capture(replica) == 3
        store.go.set()
        await task
        assert (await replica.state.target("main")).stored == 3
        assert replica.shadow.views == []
    packs = [name for name in bench.held if "/packs/" in name]
    assert len(packs) > 5
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth


async def test_it_does_not_begin_within_a_batch(bench: Bench) -> None:
    async with bench.replica() as replica:
        assert await Shipper(replica, "main", bench.store())._step() is False
        await bench.capture(replica)
        bench.sql("INSERT INTO t (a) VALUES (randomblob(9000))")
        replicator = bench.replicator(replica, max_bytes=1)
        while not (await replicator._poll()).full:
            pass
        await replicator._seal(replicator._capture.take())
        assert replica.chain is not None
        assert not replica.chain.boundary
        await bench.ship(replica)
        assert not [name for name in bench.held if "/snapshots/" in name]
        await replicator.close()
        await bench.capture(replica)
        await bench.ship(replica)
    assert (await bench.restore())[1] == bench.path.read_bytes()


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOSE_ACK, Fault.HANG, Fault.HANG_AFTER])
async def test_every_call_may_fail_or_be_cancelled(bench: Bench, tmp_path: Path, fault: Fault) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        counting = FaultStore(MemoryStore())
        await Shipper(replica, "main", counting).ship()
    for call in range(1, counting.calls + 1):
        once = Bench(tmp_path / str(call))
        once.directory.mkdir()
        once.sql("CREATE TABLE t (a)", "INSERT INTO t VALUES (randomblob(9000))")
        async with once.replica() as replica:
            await once.capture(replica)
            store = FaultStore(once.store(), {call: fault})
            task = asyncio.ensure_future(Shipper(replica, "main", store).ship())
            hanging = asyncio.ensure_future(store.hanging.wait())
            await asyncio.wait([task, hanging], return_when=asyncio.FIRST_COMPLETED)
            hanging.cancel()
            task.cancel()
            results = await asyncio.gather(task, hanging, return_exceptions=True)
            assert isinstance(results[0], StoreUnavailable | asyncio.CancelledError | None)
            assert replica.shadow.views == []
            await once.ship(replica)
            assert (await replica.state.target("main")).stored == 0
        assert (await once.restore())[1] == once.truth[0]


def packs(bench: Bench) -> list[str]:
    return sorted(name for name in bench.held if "/packs/" in name)


async def read_pages(replica: Replica) -> int:
    assert replica.chain is not None
    return replica.chain.page_count


async def test_the_next_one_ships_what_changed(bench: Bench) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(40000))"] * 6)
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        assert await shipper.snapshot("too early") is None
        await shipper.ship()
        before = packs(bench)
        bench.sql("UPDATE t SET a = randomblob(40000) WHERE id = 4", "INSERT INTO t (a) VALUES ('new')")
        seq = await bench.capture(replica)
        taken = await shipper.snapshot("test")
        assert taken is not None
        assert (taken.seq, taken.pages) == (seq, await read_pages(replica))
        assert 9 <= taken.changed < 16
        assert taken.packs == len(packs(bench)) - len(before) == -(-taken.changed // 4) + -(-taken.moved // 4)
        assert await shipper.snapshot("nothing new") is None
        assert [line["reason"] for line in bench.log.of(Event.SNAPSHOT_STARTED)] == [
            "the target begins",
            "test",
        ]
        await shipper.ship()
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth
    assert (await bench.restore())[0].deltas == 0


async def test_the_target_s_packs_survive_the_daemon(bench: Bench) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(40000))"] * 3)
    for _ in range(4):
        async with bench.replica() as replica:
            bench.sql("UPDATE t SET a = 'x' || id WHERE id = 1", "INSERT INTO t (a) VALUES (randomblob(100))")
            await bench.capture(replica)
            shipper = Shipper(replica, "main", bench.store())
            await shipper.ship()
            if taken := await shipper.snapshot("test"):
                assert taken.changed < 8
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth


@pytest.mark.parametrize("first", [True, False])
async def test_an_interrupted_one_is_gone_on_with(bench: Bench, first: bool) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(40000))"] * 8)
    async with bench.replica() as replica:
        await bench.capture(replica)
        if not first:
            await bench.ship(replica)
            bench.sql("UPDATE t SET a = randomblob(40000)")
            await bench.capture(replica)
        before = len(packs(bench))
        for call in range(6, 40, 3):  # dies a little later each time
            shipper = Shipper(replica, "main", FaultStore(bench.store(), {call: Fault.FAIL}))
            with contextlib.suppress(StoreUnavailable):
                await (shipper.ship() if first else shipper.snapshot("test"))
        assert replica.shadow.views == []
        bench.sql("UPDATE t SET a = 'now' WHERE id = 2")
        await bench.capture(replica)
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        await shipper.snapshot("test")
        pages = await read_pages(replica)
    assert len(packs(bench)) - before <= pages // 4 + 8
    restored, raw = await bench.restore()
    assert raw == bench.path.read_bytes()
    assert restored.deltas == 0


@pytest.mark.parametrize("damage", ["gone", "cut"])
async def test_packs_that_cannot_be_built_on_are_shipped_again(bench: Bench, damage: str) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(40000))"] * 4)
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        name = packs(bench)[2]
        held = bench.held.pop(name)
        if damage == "cut":
            bench.held[name] = Held(held.data[:-1], held.modified_ms)
        bench.sql("INSERT INTO t (a) VALUES ('new')")
        await bench.capture(replica)
        taken = await Shipper(replica, "main", bench.store()).snapshot("test")
        assert taken is not None
        assert taken.changed >= 4
    assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_a_change_of_the_page_size_ships_everything(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        for size in (1024, 4096):
            bench.sql(f"PRAGMA page_size = {size}", "VACUUM")
            await bench.capture(replica)
            taken = await shipper.snapshot("test")
            assert taken is not None
            assert taken.changed == taken.pages
            assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_each_target_has_its_own_packs(bench: Bench) -> None:
    targets = (("main", "memory:main"), ("other", "memory:other"))
    held: dict[str, Held] = {}
    other = MemoryStore(held=held, clock=bench.clock)
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 4)
    async with bench.replica(targets) as replica:
        shippers = [Shipper(replica, "main", bench.store()), Shipper(replica, "other", other)]
        await bench.capture(replica)
        await shippers[0].ship()
        for turn in range(6):
            bench.sql(f"UPDATE t SET a = randomblob(20000) WHERE id = {turn % 4 + 1}")
            await bench.capture(replica)
            if turn == 2:
                await shippers[1].ship()
            taken = await shippers[turn % 2].snapshot("test")
            assert taken is None or taken.changed < taken.pages
        for shipper in shippers:
            await shipper.ship()
            await shipper.snapshot("the last")
    assert (await bench.restore())[1] == bench.path.read_bytes()
    assert (await bench.restore(store=other))[1] == bench.path.read_bytes()


async def test_a_target_that_was_out_of_use_trusts_no_pack_of_its(bench: Bench) -> None:
    targets = (("main", "memory:"), ("other", "memory:other"))
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    async with bench.replica(targets[1:]) as replica:
        bench.sql("UPDATE t SET a = randomblob(9000)")
        await bench.capture(replica)
        other = MemoryStore()
        await Shipper(replica, "other", other).ship()
        assert (await replica.state.snapshots.known("main", 4096)).base is None
    async with bench.replica() as replica:
        bench.sql("INSERT INTO t (a) VALUES ('new')")
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        await shipper.snapshot("test")
    assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_a_whole_one_builds_on_nothing(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        for name in packs(bench):
            held = bench.held[name]
            bench.held[name] = Held(flipped(held.data, 0), held.modified_ms)
        taken = await shipper.snapshot("mending", whole=True)
        assert taken is not None
        assert (taken.seq, taken.changed) == (1, taken.pages)
        await shipper.ship()
        assert (await bench.restore())[1] == bench.path.read_bytes()
        bench.sql("INSERT INTO t (a) VALUES ('new')")
        assert await bench.capture(replica) == 2
        await shipper.ship()
    assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_a_map_that_cannot_be_read_any_more_is_as_none(bench: Bench) -> None:
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        await bench.capture(replica)
        await shipper.ship()
        async with replica.state._connection.transaction() as run:
            run("UPDATE target SET map = ?", b"of another version")
        bench.sql("INSERT INTO t (a) VALUES ('new')")
        await bench.capture(replica)
        taken = await shipper.snapshot("test")
        assert taken is not None
        assert taken.changed == taken.pages
    assert (await bench.restore())[1] == bench.path.read_bytes()
