"""Prune on every kind of store: its listing, its clock, and what is left in it."""

import time

import pytest

from syncd.clock import SystemClock
from syncd.inventory import read_ends, read_inventory
from syncd.marks import put_hold, tombstoned_names
from syncd.policy.ranges import everything
from syncd.policy.retention import Retention
from syncd.prune import Report, prune, undelete
from syncd.store import Store
from tests.store.backends import Backend
from tests.support.fakes import SIGNING_KEY, FakeClock, Recorder
from tests.verbs.prunable import DAY, VERIFY_KEY, Archive

NOTHING = Retention(pitr_ms=0, max_share=1.0)


@pytest.fixture
async def archive(store: Store) -> Archive:
    made = Archive(clock=FakeClock(ms=time.time_ns() // 1_000_000 - 5 * DAY))
    made.days(4)
    for name, held in made.held.items():
        await store.put(name, held.data)
    return made


async def run(store: Store, *, dry_run: bool = False) -> Report:
    return await prune(
        store,
        database="chat",
        retention=NOTHING,
        grace_ms=0,
        clock=SystemClock(),
        log=Recorder(),
        verify_key=VERIFY_KEY,
        dry_run=dry_run,
    )


async def test_two_phases(store: Store, backend: Backend, archive: Archive) -> None:
    before = backend.raw()
    assert sum(not v.keep for v in (await run(store, dry_run=True)).verdicts) == 3 + 6 + 3
    assert backend.raw() == before
    assert (await run(store)).tombstoned == 12
    going = await tombstoned_names(store)
    assert backend.raw().keys() - before.keys() == {n for n in backend.raw() if n.startswith("tombstones/")}
    assert (await run(store)).gone == going
    assert backend.raw().keys() == before.keys() - going
    assert (await run(store)).tombstoned == 0
    assert archive.generation in min(backend.raw())


async def test_a_hold_and_a_change_of_mind(store: Store, backend: Backend, archive: Archive) -> None:
    before = backend.raw()
    await run(store)
    until_ms = SystemClock().now_ms() + DAY
    hold, count = await undelete(
        store, database="chat", clock=SystemClock(), signing_key=SIGNING_KEY, until_ms=until_ms
    )
    assert count == 12
    report = await run(store)
    assert (report.tombstoned, report.removed) == (0, 0)
    inventory = await read_inventory(store, database="chat", verify_key=VERIFY_KEY)
    ends = await read_ends(store, inventory.bundles, database="chat", verify_key=VERIFY_KEY)
    ranges = everything(inventory, ends)
    other = await put_hold(
        store, SystemClock(), SIGNING_KEY, database="chat", until_ms=until_ms, reason="7", ranges=ranges
    )
    assert backend.raw().keys() - before.keys() == {f"holds/{hold.mark_id}", f"holds/{other.mark_id}"}
    assert ranges[0].generation == archive.generation
