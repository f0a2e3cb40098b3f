"""What the daemon's writing does with credentials that may do little else than create."""

import re
from pathlib import Path

import pytest
from typing_extensions import override

from syncd import snapshot
from syncd.errors import ConflictError, ObjectUnread, StoreRefused, StoreUnavailable
from syncd.format.names import LEASES, claim_name
from syncd.ship import Shipper
from syncd.store.memory import Held
from tests.support.limits import LimitedStore
from tests.verbs.bench import Bench

_OWN = re.compile(r"generations/[^/]+/(?:epochs|deltas|snapshots)/[^/]+|claims/[^/]+|\.syncd-probe")


class Losing(LimitedStore):
    """Stores every object of one kind, and loses the answer the first time."""

    kind = ""

    @override
    async def put(self, name: str, data: bytes) -> None:
        first = name not in self.held
        await super().put(name, data)
        if first and f"{self.kind}/" in name:
            if self.kind in {"packs", "leases"}:  # found by the SDK, which repeats the put itself
                raise ObjectUnread(name)
            raise StoreUnavailable("the answer was lost")


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PACK_BYTES", 4 * 4096)


def own(name: str) -> bool:
    return _OWN.fullmatch(name) is not None


async def shipped(shipper: Shipper, *, tries: int = 30) -> int:
    """Ship as the daemon does: again after what a retry can help; how often it had to."""
    for attempt in range(tries):
        try:
            await shipper.ship()
        except StoreUnavailable:
            continue
        return attempt
    raise AssertionError


async def test_it_creates_and_nothing_else(bench: Bench) -> None:
    store = LimitedStore(bench.held, bench.clock)
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 3)
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", store)
        await shipper.ship()
        for _ in range(3):
            bench.sql("UPDATE t SET a = randomblob(20000) WHERE id = 1")
            await bench.capture(replica)
            await shipper.ship()
        second = await shipper.snapshot("test")
        assert second is not None
        # It builds on the packs of the first, although it may not look at them.
        assert 0 < second.changed < second.pages
        assert second.moved == 0
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth
    # What it tried beyond: leases go by themselves, packs are taken for what they are.
    assert {what for what, _ in store.refused} <= {"get", "list", "delete"}
    read = {name for what, name in store.refused if what == "get"}
    assert read == {".syncd-probe", claim_name(1), claim_name(2)}
    assert all(name.startswith(LEASES) for what, name in store.refused if what == "delete")
    assert [name for name in bench.held if name.startswith(LEASES)]


@pytest.mark.parametrize("kind", ["epochs", "packs", "snapshots", "deltas", "leases"])
async def test_lost_answers_are_told_from_a_second_writer_by_reading_its_own(bench: Bench, kind: str) -> None:
    store = Losing(bench.held, bench.clock, read=own)
    store.kind = kind
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 3)
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", store)
        again = await shipped(shipper)
        bench.sql("UPDATE t SET a = randomblob(20000)")
        await bench.capture(replica)
        again += await shipped(shipper)
        assert (again > 0) == (kind not in {"packs", "leases"})
    assert not [name for what, name in store.refused if what == "get"]
    for seq, truth in bench.truth.items():
        assert (await bench.restore(seq=seq))[1] == truth


@pytest.mark.parametrize("kind", ["epochs", "snapshots", "deltas"])
async def test_without_that_a_lost_answer_waits_for_a_look(bench: Bench, kind: str) -> None:
    """Nothing is lost, nothing is taken for granted: it goes on as soon as it may read."""
    store = Losing(bench.held, bench.clock)
    store.kind = kind
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", store)
        if kind == "deltas":
            await shipped(shipper)
            bench.sql("UPDATE t SET a = randomblob(20000)")
            await bench.capture(replica)
        with pytest.raises(StoreRefused, match="whose answer was lost, or another daemon's") as caught:
            await shipped(shipper)
        assert "syncd policy writer" in caught.value.hint
        assert caught.value.retryable
        shipper.store = LimitedStore(bench.held, bench.clock, read=own)
        await shipper.ship()
    assert (await bench.restore())[1] == bench.truth[max(bench.truth)]


async def test_packs_of_an_interrupted_snapshot_are_sent_again_where_nobody_may_look(bench: Bench) -> None:
    class Ending(LimitedStore):
        left = 2

        @override
        async def put(self, name: str, data: bytes) -> None:
            if "/packs/" in name:
                self.left -= 1
                if self.left < 0:
                    raise StoreUnavailable("no answer")
            await super().put(name, data)

    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 4)
    async with bench.replica() as replica:
        await bench.capture(replica)
        ending = Ending(bench.held, bench.clock)
        with pytest.raises(StoreUnavailable):
            await Shipper(replica, "main", ending).ship()
        interrupted = packs(bench.held)
        assert len(interrupted) == 2
        # A prune elsewhere may take them away at any moment, and nobody here would see it.
        for name in interrupted:
            del bench.held[name]
        await Shipper(replica, "main", LimitedStore(bench.held, bench.clock)).ship()
    assert not interrupted & packs(bench.held)
    assert (await bench.restore())[1] == bench.truth[0]


def packs(held: dict[str, Held]) -> set[str]:
    return {name for name in held if "/packs/" in name}


async def test_a_second_writer_is_still_found_out(bench: Bench, tmp_path: Path) -> None:
    store = LimitedStore(bench.held, bench.clock, read=own)
    async with bench.replica() as replica:
        await bench.capture(replica)
        await Shipper(replica, "main", store).ship()
    copy = tmp_path / "copy"
    bench.copy_state(copy)
    for state in (None, copy):
        async with bench.replica(state=state) as replica:
            bench.sql("UPDATE t SET a = randomblob(20000)")
            await bench.capture(replica)
            if state is None:
                await Shipper(replica, "main", store).ship()
            else:
                with pytest.raises(ConflictError):
                    await Shipper(replica, "main", store).ship()
