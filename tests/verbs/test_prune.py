"""Prune on a store in memory: two phases, what saves an object in between, what stops a run."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from typing_extensions import override

from syncd.errors import (
    ClockError,
    NoRestorePoint,
    StoreError,
    StoreRefused,
)
from syncd.format.marks import Purpose, Range, encode_tombstone, tombstone_of
from syncd.format.names import deltas_name, hold_name, tombstone_name
from syncd.inventory import read_ends, read_inventory
from syncd.log import Event
from syncd.marks import lease, new_mark_id, put_hold, tombstoned_names
from syncd.policy.inventory import Kind
from syncd.prune import undelete
from syncd.store.base import ObjectInfo
from syncd.store.memory import Held, MemoryStore
from tests.support.fakes import SIGNING_KEY, START_MS, FakeClock
from tests.verbs.prunable import DAY, POLICY, VERIFY_KEY, Archive


async def test_what_goes_is_tombstoned_first_and_deleted_after_the_grace(archive: Archive) -> None:
    before = dict(archive.held)
    report = await archive.prune()
    # Days 7 to 9 have the three dailies; day 8 began two days ago and is the start of the window.
    going = {v.name for v in report.verdicts if not v.keep}
    assert (report.tombstoned, report.removed, report.kept) == (7 + 16 + 7, 0, len(before) - 30)
    assert archive.held.keys() - before.keys() == set(archive.names("tombstones"))
    assert await tombstoned_names(archive.store()) == going
    archive.clock.advance(86_399)
    report = await archive.prune()
    assert (report.tombstoned, report.removed) == (0, 0)
    assert set(report.due_ms.values()) == {archive.clock.now_ms() + 1000}
    archive.clock.advance(1)
    report = await archive.prune()
    assert (report.tombstoned, report.removed) == (2, 30)
    assert report.removed_bytes == sum(len(before[name].data) for name in going)
    assert archive.held.keys() == before.keys() - going | set(archive.names("tombstones"))
    assert archive.numbers("snapshots") == [70, 80, 90]
    assert archive.numbers("packs") == [0, 71, 81, 91]
    (line,) = [f for f in archive.log.of(Event.PRUNE_FINISHED) if f["removed"]]
    assert (line["removed"], line["bytes"], line["tombstoned"]) == (30, report.removed_bytes, 2)


async def test_the_end_is_reached_and_stays(archive: Archive) -> None:
    for _ in range(4):
        await archive.prune()
        archive.clock.advance(86_400)
    before = dict(archive.held)
    report = await archive.prune()
    assert (report.tombstoned, report.removed) == (0, 0)
    assert archive.held == before
    assert archive.names("tombstones") == []
    assert archive.names("leases") == []


async def test_a_dry_run_writes_nothing(archive: Archive) -> None:
    before = dict(archive.held)

    class NoWrites(MemoryStore):
        @override
        async def put(self, name: str, data: bytes) -> None:
            raise AssertionError

        @override
        async def delete(self, name: str) -> None:
            raise AssertionError

    report = await archive.prune(NoWrites(held=archive.held, clock=archive.clock), dry_run=True)
    assert archive.held == before
    assert sum(not v.keep for v in report.verdicts) == 30
    assert (report.tombstoned, report.removed, report.notes) == (0, 0, ())
    archive.held[deltas_name(archive.generation, 1)] = Held(b"x", archive.clock.now_ms() + DAY)
    report = await archive.prune(dry_run=True)
    assert report.notes[0].startswith("dated in the future: 1, the first generations/")


async def test_a_hold_that_comes_meanwhile_saves_what_is_tombstoned(archive: Archive) -> None:
    await archive.prune()
    hold = await put_hold(
        archive.store(),
        archive.clock,
        SIGNING_KEY,
        database="chat",
        until_ms=archive.clock.now_ms() + 9 * DAY,
        reason="case 7",
        ranges=[Range(archive.generation, 12, 13)],
    )
    archive.clock.advance(86_400)
    await archive.prune()
    assert archive.numbers("snapshots") == [10, 70, 80, 90]
    assert archive.numbers("packs") == [0, 11, 71, 81, 91]
    assert archive.numbers("deltas") == [11, 81, 86, 91, 96]
    # When it is over, a new tombstone and a new grace come first.
    archive.clock.advance(9 * 86_400)
    await archive.prune()
    assert hold_name(hold.mark_id) not in archive.held
    assert 10 in archive.numbers("snapshots")
    archive.clock.advance(86_400)
    await archive.prune()
    assert 10 not in archive.numbers("snapshots")
    assert 11 not in archive.numbers("deltas") + archive.numbers("packs")


async def test_what_a_running_restore_reads_stays(archive: Archive) -> None:
    await archive.prune()
    archive.clock.advance(86_400)
    ranges = [Range(archive.generation, 30, 30)]
    async with lease(archive.store(), FakeClock(ms=5), "chat", Purpose.RESTORE, ranges):
        await archive.prune()
        assert archive.numbers("snapshots") == [30, 70, 80, 90]
        assert 31 in archive.numbers("packs")
    archive.clock.advance(86_400)
    await archive.prune()
    archive.clock.advance(86_400)
    await archive.prune()
    assert 30 not in archive.numbers("snapshots")


async def test_undelete_takes_a_tombstone_back(archive: Archive) -> None:
    before = set(archive.held)
    await archive.prune()
    hold, count = await undelete(
        archive.store(),
        database="chat",
        clock=archive.clock,
        signing_key=SIGNING_KEY,
        until_ms=archive.clock.now_ms() + 7 * DAY,
    )
    assert count == 30
    assert archive.names("tombstones") == []
    assert hold.ranges == (Range(archive.generation, 0, 80),)
    archive.clock.advance(86_400)
    await archive.prune()
    assert archive.held.keys() >= before
    archive.clock.advance(6 * 86_400)
    for _ in range(2):
        await archive.prune()
        archive.clock.advance(86_400)
    assert archive.numbers("snapshots") == [70, 80, 90]


async def test_there_is_nothing_to_undelete(archive: Archive) -> None:
    with pytest.raises(NoRestorePoint, match="nothing is tombstoned"):
        await undelete(
            archive.store(),
            database="chat",
            clock=archive.clock,
            signing_key=SIGNING_KEY,
            until_ms=2 * START_MS,
        )


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_clocks_that_disagree_stop_the_run(archive: Archive, minutes: int) -> None:
    before = dict(archive.held)
    elsewhere = replace(archive.clock, ms=archive.clock.ms + minutes * 60_000)
    with pytest.raises(ClockError, match="are 6 minutes apart") as caught:
        await archive.prune(MemoryStore(held=archive.held, clock=elsewhere))
    assert caught.value.exit_code == 21
    assert archive.held == before
    (line,) = archive.log.of(Event.PRUNE_STOPPED)
    assert "6 minutes apart" in str(line["error"])


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_five_minutes_are_not_enough_to_stop(archive: Archive, minutes: int) -> None:
    elsewhere = replace(archive.clock, ms=archive.clock.ms + minutes * 60_000)
    assert (await archive.prune(MemoryStore(held=archive.held, clock=elsewhere))).tombstoned == 30


async def test_who_may_not_write_cannot_prune(archive: Archive) -> None:
    class ReadOnly(MemoryStore):
        @override
        async def put(self, name: str, data: bytes) -> None:
            raise StoreRefused("read only")

    with pytest.raises(StoreRefused, match="read only"):
        await archive.prune(ReadOnly(held=archive.held))


async def test_a_store_that_does_not_list_what_it_took_is_not_pruned(archive: Archive) -> None:
    class Forgetful(MemoryStore):
        @override
        async def put(self, name: str, data: bytes) -> None:
            pass

    with pytest.raises(StoreError, match="does not list"):
        await archive.prune(Forgetful(held=archive.held))


async def test_a_tombstone_of_the_future_counts_for_nothing(archive: Archive) -> None:
    name = tombstone_name(new_mark_id(START_MS))
    dead = tombstone_of(archive.clock.now_ms() + DAY, [deltas_name(archive.generation, 1)])
    archive.add(name, encode_tombstone(dead))
    assert (await archive.prune()).tombstoned == 30
    assert name not in archive.held


async def test_a_forged_tombstone_deletes_nothing_that_stays(archive: Archive) -> None:
    everything = [name for name in archive.held if name.startswith("generations/")]
    archive.held[tombstone_name(new_mark_id(START_MS))] = Held(
        encode_tombstone(tombstone_of(START_MS, everything)), START_MS
    )
    await archive.prune()
    assert archive.numbers("snapshots") == [70, 80, 90]
    assert archive.numbers("packs") == [0, 71, 81, 91]
    assert archive.names("epochs") != []
    assert archive.names("tombstones") == []


async def test_a_manifest_that_comes_while_packs_go_keeps_them(archive: Archive) -> None:
    await archive.prune()
    archive.clock.advance(86_400)

    class Racing(MemoryStore):
        @override
        async def delete(self, name: str) -> None:
            if name.endswith("/deltas/0000000000000001"):
                archive.add_snapshot((0, 1))
            await super().delete(name)

    archive.seq = 999
    await archive.prune(Racing(held=archive.held, clock=archive.clock))
    assert 1 in archive.numbers("packs")
    assert 11 not in archive.numbers("packs")
    await archive.prune()
    assert 1 in archive.numbers("packs")


async def test_a_damaged_manifest_that_comes_while_packs_go_keeps_all(archive: Archive) -> None:
    await archive.prune()
    archive.clock.advance(86_400)
    packs = archive.numbers("packs")

    class Racing(MemoryStore):
        @override
        async def delete(self, name: str) -> None:
            if name.endswith("/deltas/0000000000000001"):
                archive.add(archive.names("snapshots")[-1][:-1] + "f", b"broken")
            await super().delete(name)

    await archive.prune(Racing(held=archive.held, clock=archive.clock))
    assert archive.numbers("packs") == packs


async def test_a_whole_generation_goes_with_its_epochs(archive: Archive) -> None:
    old = archive.generation
    archive.begin()
    archive.days(5)
    for _ in range(3):
        await archive.prune()
        archive.clock.advance(86_400)
    assert [name for name in archive.held if old in name] == []
    assert len(archive.names("epochs")) == 1


async def test_epochs_stay_while_something_comes_to_their_generation(archive: Archive) -> None:
    old = archive.generation
    archive.begin()
    archive.days(5)
    await archive.prune()
    archive.clock.advance(86_400)

    class Racing(MemoryStore):
        @override
        async def delete(self, name: str) -> None:
            if old in name and "/packs/" in name:
                archive.add(deltas_name(old, 9999), b"late")
            await super().delete(name)

    await archive.prune(Racing(held=archive.held, clock=archive.clock))
    assert [name.split("/")[2] for name in archive.held if old in name] == ["epochs", "deltas"]


def rotating(days: int) -> Archive:
    """A new epoch every day; snapshot, pack and deltas of day n, from 0, are of epoch n + 2."""
    archive = Archive()
    for _ in range(days):
        archive.rotate()
        archive.day()
    return archive


async def test_epochs_go_when_nothing_that_is_there_needs_them() -> None:
    archive = rotating(10)
    going = [v for v in (await archive.prune()).verdicts if not v.keep]
    assert not [v for v in going if v.kind is Kind.EPOCH]
    for _ in range(2):
        archive.clock.advance(86_400)
        await archive.prune()
    # What needed them is deleted, and their own grace begins.
    assert archive.numbers("snapshots") == [70, 80, 90]
    assert archive.numbers("epochs") == list(range(1, 12))
    archive.clock.advance(86_400)
    await archive.prune()
    # Pack 0 is of epoch 1; bundles of day 9 follow the last snapshot.
    assert archive.numbers("epochs") == [1, 9, 10, 11]
    for _ in range(3):
        archive.clock.advance(86_400)
        await archive.prune()
    assert archive.numbers("epochs") == [1, 9, 10, 11]


async def test_epochs_of_what_is_held_stay() -> None:
    archive = rotating(10)
    await put_hold(
        archive.store(),
        archive.clock,
        SIGNING_KEY,
        database="chat",
        until_ms=archive.clock.now_ms() + 30 * DAY,
        reason="case 7",
        ranges=[Range(archive.generation, 22, 33)],
    )
    for _ in range(5):
        await archive.prune()
        archive.clock.advance(86_400)
    # Days 2 and 3; the snapshot of day 7 has no delta behind it, so theirs do not lead on.
    assert archive.numbers("snapshots") == [20, 30, 70, 80, 90]
    assert archive.numbers("deltas") == [21, 26, 31, 91, 96]
    assert archive.numbers("epochs") == [1, 4, 5, 9, 10, 11]


@pytest.mark.parametrize("damaged", [False, True])
async def test_a_manifest_that_comes_while_epochs_go_keeps_them(damaged: bool) -> None:
    archive = rotating(10)
    for _ in range(3):
        await archive.prune()
        archive.clock.advance(86_400)
    archive.seq = 200
    late = archive.add_snapshot((0, 31))  # a pack of day 3, and so of epoch 5
    held = archive.held.pop(late)
    if damaged:
        held = Held(b"broken", held.modified_ms)

    class Racing(MemoryStore):
        """It comes between the decision and the first deletion."""

        @override
        async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
            if prefix == f"generations/{archive.generation}/":
                archive.held[late] = held
            async for info in super().objects(prefix, after=after):
                yield info

    await archive.prune(Racing(held=archive.held, clock=archive.clock))
    assert archive.numbers("epochs") == (list(range(1, 12)) if damaged else [1, 5, 9, 10, 11])


async def test_a_run_removes_a_share(archive: Archive) -> None:
    policy = replace(POLICY, max_share=0.25)
    tombstoned = [(await archive.prune(policy=policy)).tombstoned for _ in range(5)]
    # 2 of 10 snapshots with their packs, 5 of 20 bundles; then the last snapshot of seven, the last bundle.
    assert tombstoned == [9, 9, 9, 3, 0]


async def test_the_ends_of_generations_are_read_from_the_last_bundles(archive: Archive) -> None:
    old = archive.generation
    archive.begin()
    archive.day()
    inventory = await read_inventory(archive.store(), database="chat", verify_key=VERIFY_KEY)
    ends = await read_ends(archive.store(), inventory.bundles, database="chat", verify_key=VERIFY_KEY)
    assert ends == {old: 100, archive.generation: 10}


async def test_what_is_not_ours_is_neither_counted_nor_removed(archive: Archive) -> None:
    strange = ["generations/x/deltas/1", f"generations/{archive.generation}/notes", "generations/readme"]
    for name in strange:
        archive.add(name, b"hello")
    for _ in range(3):
        await archive.prune()
        archive.clock.advance(86_400)
    assert set(strange) <= archive.held.keys()
