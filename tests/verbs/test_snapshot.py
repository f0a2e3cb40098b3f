"""A snapshot stands still while capture goes on, and does not exist before it is complete."""

import asyncio
from pathlib import Path

import pytest
from typing_extensions import override

from syncd import snapshot
from syncd.errors import StoreUnavailable
from syncd.ship import Shipper
from syncd.store.memory import MemoryStore
from tests.support.faultstore import Fault, FaultStore
from tests.verbs.bench import Bench


class Pausing(MemoryStore):
    """Lets something happen before each pack is stored."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(held=bench.held)
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    @override
    async def put(self, name: str, data: bytes) -> None:
        if "/packs/" in name:
            self.reached.set()
            await self.go.wait()
        await super().put(name, data)


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PACK_BYTES", 4 * 4096)


async def test_capture_goes_on_meanwhile(bench: Bench) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 5)
    async with bench.replica() as replica:
        await bench.capture(replica)
        store = Pausing(bench)
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
