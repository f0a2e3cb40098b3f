"""Taking an archive over: the daemon that is taken over from meets a closing, whatever it does next."""

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from typing_extensions import override

from syncd.archive import read_bundle
from syncd.contents import find_plan, read_contents
from syncd.errors import ArchiveClaimed, ConflictError, StoreRefused
from syncd.format.names import deltas_name, generation_dir, snapshot_name
from syncd.log import Event
from syncd.policy.retention import Retention
from syncd.prune import prune
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.store.base import Store
from syncd.store.memory import MemoryStore
from syncd.verify import verify
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.support.limits import LimitedStore, anything
from tests.verbs.bench import NAME, ROW, Bench, restore

HOUR = 3_600_000


def theirs(bench: Bench) -> Path:
    return bench.directory / "their-state"


async def take_over(bench: Bench, listing: Store | None = None) -> Shipper:
    """By a state that knows nothing; it captured, and was refused."""
    async with bench.replica(state=theirs(bench)) as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store(), listing=listing)
        with pytest.raises(ArchiveClaimed):
            await shipper.ship()
        await shipper.take_over()
        return shipper


async def write(bench: Bench, replica: Replica) -> None:
    bench.sql(ROW)
    await bench.capture(replica)


async def begin_theirs(bench: Bench) -> str:
    """The generation that begins after a take-over."""
    bench.clock.advance(1)
    async with bench.replica(state=theirs(bench)) as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        assert replica.chain is not None
        return replica.chain.generation


async def check(bench: Bench) -> None:
    report = await verify(
        bench.store(),
        database=NAME,
        verify_key=SIGNING_KEY.verify_key,
        identity=IDENTITY,
        sample=1.0,
        rng=random.Random(1),
    )
    assert not report.findings


def closings(bench: Bench, generation: str) -> list[int]:
    """Where they stand."""
    found: list[int] = []
    for name in sorted(bench.held):
        if name.startswith(f"{generation_dir(generation)}deltas/"):
            first = int(name[-16:], 16)
            bundle = read_bundle(
                bench.held[name].data,
                generation=generation,
                first_seq=first,
                database=NAME,
                verify_key=SIGNING_KEY.verify_key,
            )
            found += [] if bundle.deltas else [first]
    return found


async def test_the_next_bundle_of_the_other_finds_its_name_used(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        for _ in range(2):
            await write(bench, replica)
            await shipper.ship()
        mine = bench.path.read_bytes()
        assert replica.chain is not None
        old = replica.chain.generation
        await take_over(bench)
        assert closings(bench, old) == [3]
        before = set(bench.held)
        with pytest.raises(ArchiveClaimed):
            await shipper.beat()
        await write(bench, replica)
        with pytest.raises(ArchiveClaimed, match=r"took this archive over at .+ \(claim 2\)") as caught:
            await shipper.ship()
        assert "--take-over" in caught.value.hint
        assert set(bench.held) == before
        with pytest.raises(ArchiveClaimed):
            await shipper.snapshot("asked for")
        assert set(bench.held) == before
    async with bench.replica() as replica:  # a new process of it
        assert replica.chain is not None
        assert replica.chain.generation == old
        with pytest.raises(ArchiveClaimed):
            await bench.ship(replica)
    assert set(bench.held) == before
    new = await begin_theirs(bench)
    assert new > old
    to = bench.directory / "old.db"
    await restore(bench.store(), to, generation=old)
    assert to.read_bytes() == mine
    assert (await bench.restore())[1] == bench.path.read_bytes()
    await check(bench)
    assert [line["closed"] for line in bench.log.of(Event.TARGET_TAKEN_OVER)] == [[old]]


async def test_a_shipper_that_waits_goes_on_in_a_new_generation(bench: Bench) -> None:
    """As the daemon has it: the one that was refused is told, ends, and is opened again."""
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    async with bench.replica(state=theirs(bench)) as replica:
        await bench.capture(replica)
        assert replica.chain is not None
        refused = replica.chain.generation
        shipper = Shipper(replica, "main", bench.store())
        run = asyncio.ensure_future(shipper.run())
        for _ in range(10_000):
            if (await replica.state.target("main")).state == "claimed":
                break
        taken = await shipper.take_over()
        assert (taken.claim, len(taken.closed), taken.left) == (2, 1, ())
        with pytest.raises(ConflictError):
            await run
        with pytest.raises(ConflictError, match="a new generation begins"):
            await shipper.ship()
        with pytest.raises(ConflictError, match="a new generation begins"):
            await shipper.snapshot("asked for")
    assert await begin_theirs(bench) > refused
    assert "taken over from, on main" in str(bench.log.of(Event.GENERATION_STARTED)[-1]["reason"])
    count = len(bench.log.of(Event.GENERATION_STARTED))
    await begin_theirs(bench)  # and not once more with each start
    assert len(bench.log.of(Event.GENERATION_STARTED)) == count


async def test_a_new_generation_begins_once_though_the_target_is_away(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    await take_over(bench)
    generations = set()
    for _ in range(3):
        bench.clock.advance(1)
        async with bench.replica(state=theirs(bench)) as replica:
            assert replica.chain is not None
            generations.add(replica.chain.generation)
    assert len(generations) == 1


async def test_it_is_taken_back(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    await take_over(bench)
    new = await begin_theirs(bench)
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        with pytest.raises(ArchiveClaimed):
            await shipper.ship()
        await shipper.take_over()
    assert closings(bench, new) == [1]
    bench.clock.advance(1)
    async with bench.replica() as replica:
        await write(bench, replica)
        await bench.ship(replica)
    with pytest.raises(ArchiveClaimed):
        await begin_theirs(bench)
    assert (await bench.restore())[1] == bench.path.read_bytes()
    await check(bench)


class Held(MemoryStore):
    """Holds up the creation of one object."""

    def __init__(self, bench: Bench, part: str) -> None:
        super().__init__(held=bench.held, clock=bench.clock)
        self._part = part
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    @override
    async def put(self, name: str, data: bytes) -> None:
        if self._part in name:
            self.asked.set()
            await self.go_on.wait()
        await super().put(name, data)


@pytest.mark.parametrize("part", ["snapshots/", "packs/", "epochs/", "heartbeats/"])
async def test_what_was_on_its_way_is_all_that_comes(bench: Bench, part: str) -> None:
    """A snapshot behind a gap is held up in the middle; no closing is in the way of deltas behind it."""
    store = Held(bench, "nothing")
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", store)
        await shipper.ship()
        assert replica.chain is not None
        old = replica.chain.generation
        if part != "heartbeats/":
            await replica.rotate()
            for _ in range(2):
                await write(bench, replica)
            replica.state._outbox_bytes = None
            assert await replica.state.limit_outbox(1)
        store._part = part
        acting = asyncio.ensure_future(shipper.beat() if part == "heartbeats/" else shipper.ship())
        await store.asked.wait()
        await take_over(bench)
        before = set(bench.held)
        store.go_on.set()
        if part == "heartbeats/":
            await acting
        else:
            with pytest.raises(ArchiveClaimed):
                await acting
        assert len(set(bench.held) - before) == 1
        assert (await replica.state.target("main")).stored == 0
        await write(bench, replica)
        with pytest.raises(ArchiveClaimed):
            await shipper.ship()
        assert len(set(bench.held) - before) == 1
    new = await begin_theirs(bench)
    plan, _ = await find_plan(bench.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    assert plan.snapshot.generation == new
    await check(bench)
    contents = await read_contents(bench.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    assert contents.closed == {old}


async def test_a_snapshot_that_overtook_deltas_leaves_two_names_for_the_next_bundle(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        for _ in range(2):
            await write(bench, replica)
        await shipper.snapshot("asked for")  # at 2, and the target has no delta yet
        assert replica.chain is not None
        old = replica.chain.generation
        await take_over(bench)
        assert closings(bench, old) == [1, 3]
        await write(bench, replica)
        with pytest.raises(ArchiveClaimed):  # with one bundle that reaches over the second name
            await shipper.ship()
    await check(bench)
    to = bench.directory / "old.db"
    await restore(bench.store(), to, generation=old)
    assert to.read_bytes() == bench.truth[2]


async def test_without_a_listing_nothing_is_written_until_it_is_done(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    writer = LimitedStore(bench.held, bench.clock, read=lambda name: "/packs/" not in name)
    async with bench.replica(state=theirs(bench)) as replica:
        await bench.capture(replica)
        with pytest.raises(StoreRefused):
            await Shipper(replica, "main", writer).take_over()
        before = set(bench.held)
        for _ in range(2):
            shipper = Shipper(replica, "main", writer)
            with pytest.raises(ArchiveClaimed, match=r"was being taken over from here \(claim 2\)"):
                await shipper.ship()
        assert set(bench.held) == before
        await Shipper(replica, "main", writer, listing=bench.store()).take_over()
    await begin_theirs(bench)
    assert (await bench.restore())[1] == bench.path.read_bytes()


@pytest.mark.parametrize("finished", [True, False])
async def test_a_state_lost_behind_its_take_over_completes_it(bench: Bench, *, finished: bool) -> None:
    """Nobody has to say it twice, whether or not the generations were closed."""
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        await write(bench, replica)
        if finished:
            await take_over(bench)
        else:
            writer = LimitedStore(bench.held, bench.clock, read=anything)
            with pytest.raises(StoreRefused):
                await take_over(bench, writer)
        shutil.rmtree(theirs(bench))
        new = await begin_theirs(bench)
        with pytest.raises(ArchiveClaimed):
            await bench.ship(replica)
        assert replica.chain is not None
        assert closings(bench, replica.chain.generation) == [1]
    plan, _ = await find_plan(bench.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    assert plan.snapshot.generation == new
    await check(bench)


async def test_another_places_take_over_is_not_completed(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
    await take_over(bench)
    before = set(bench.held)
    bench.clock.advance(1)
    async with bench.replica(state=bench.directory / "third-state") as replica:
        await bench.capture(replica)
        with pytest.raises(ArchiveClaimed, match=r"writes this archive since .*\(claim 2\)"):
            await bench.ship(replica)
    assert set(bench.held) == before


async def test_where_the_end_cannot_be_read_it_is_said(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        await write(bench, replica)
        await bench.ship(replica)
        assert replica.chain is not None
        old = replica.chain.generation
    bench.held[deltas_name(old, 1)] = type(bench.held[deltas_name(old, 1)])(b"damaged", 0)
    async with bench.replica(state=theirs(bench)) as replica:
        taken = await Shipper(replica, "main", bench.store()).take_over()
    assert taken.closed == ()
    ((generation, why),) = taken.left
    assert generation == old
    assert deltas_name(old, 1) in why.message
    with pytest.raises(ArchiveClaimed):
        async with bench.replica() as replica:
            await bench.ship(replica)


async def test_prune_knows_a_closed_generation(bench: Bench) -> None:
    """It goes as any other does, closings included, when the rule no longer keeps it."""
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        await write(bench, replica)
        await bench.ship(replica)
        assert replica.chain is not None
        old = replica.chain.generation
    await take_over(bench)
    new = await begin_theirs(bench)
    for _ in range(6):
        bench.clock.advance(40 * 24 * 3600)
        async with bench.replica(state=theirs(bench)) as replica:
            await write(bench, replica)
            shipper = Shipper(replica, "main", bench.store())
            await shipper.ship()
            await shipper.snapshot("the calendar")
        await prune(
            bench.store(),
            database=NAME,
            retention=Retention(pitr_ms=HOUR, max_share=1.0),
            grace_ms=HOUR,
            clock=bench.clock,
            log=bench.log,
            verify_key=SIGNING_KEY.verify_key,
            dry_run=False,
        )
        await check(bench)
    assert snapshot_name(new, 0) not in bench.held
    assert not [name for name in bench.held if name.startswith(generation_dir(old))]
    assert [name for name in bench.held if name.startswith("claims/")]
