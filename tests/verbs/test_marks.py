"""Marks in a store: put, renewed, taken away, read back."""

import asyncio
from dataclasses import replace

import pytest
from typing_extensions import override

from syncd import marks as module
from syncd.archive import seal_hold
from syncd.envelope.keys import SigningKey
from syncd.errors import ArchiveError, FormatVersionError, StoreRefused, StoreUnavailable
from syncd.format.marks import Mark, Purpose, Range, encode_mark, encode_tombstone, tombstone_of
from syncd.format.names import deltas_name, hold_name, lease_name, tombstone_name
from syncd.marks import LEASE_MS, lease, new_mark_id, put_hold, read_marks, tombstoned_names
from syncd.store.memory import Held, MemoryStore
from tests.support.fakes import SIGNING_KEY, START_MS, FakeClock

G = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
RANGES = (Range(G, 3, 9),)
ID = new_mark_id(START_MS)


class ReadOnly(MemoryStore):
    @override
    async def put(self, name: str, data: bytes) -> None:
        raise StoreRefused("read only")


def a_lease(**changes: object) -> Mark:
    mark = Mark("chat", ID, Purpose.RESTORE, START_MS, START_MS + LEASE_MS, "", RANGES)
    return replace(mark, **changes)  # type: ignore[arg-type]


async def test_a_hold_is_read_back() -> None:
    store, clock = MemoryStore(), FakeClock()
    hold = await put_hold(
        store, clock, SIGNING_KEY, database="chat", until_ms=START_MS + 5, reason="case 7", ranges=RANGES
    )
    assert hold == Mark("chat", hold.mark_id, Purpose.HOLD, START_MS, START_MS + 5, "case 7", RANGES)
    assert list(store.held) == [hold_name(hold.mark_id)]
    found = await read_marks(store, "chat", SIGNING_KEY.verify_key)
    assert found.holds == (hold,)
    assert found.damaged == ()


@pytest.mark.parametrize("wrong", ["key", "database", "name", "bytes"])
async def test_a_hold_that_is_not_ours_is_damaged(wrong: str) -> None:
    hold = a_lease(purpose=Purpose.HOLD, reason="case 7", database="other" if wrong == "database" else "chat")
    raw = seal_hold(SigningKey.generate() if wrong == "key" else SIGNING_KEY, hold)
    name = f"holds/{G if wrong == 'name' else ID}"
    store = MemoryStore(held={name: Held(raw[: -1 if wrong == "bytes" else None], 77)})
    found = await read_marks(store, "chat", SIGNING_KEY.verify_key)
    assert found.holds == ()
    assert [(d.name, d.stored_ms) for d in found.damaged] == [(name, 77)]
    assert found.damaged[0].error.message.startswith(name)


async def test_marks_under_strange_names_are_damaged() -> None:
    held = {f"{where}/x": Held(b"", 0) for where in ("holds", "leases", "tombstones")}
    store = MemoryStore(held=held)
    found = await read_marks(store, "chat", SIGNING_KEY.verify_key)
    assert [d.name for d in found.damaged] == ["holds/x", "leases/x", "tombstones/x"]


@pytest.mark.parametrize(
    ("created_ms", "until_ms", "length"),
    [(5, 5 + LEASE_MS, LEASE_MS), (START_MS * 2, START_MS * 2 + 60_000, 60_000), (0, 1 << 45, LEASE_MS)],
)
async def test_a_lease_counts_by_the_clock_of_the_store(created_ms: int, until_ms: int, length: int) -> None:
    raw = encode_mark(a_lease(created_ms=created_ms, until_ms=until_ms))
    store = MemoryStore(held={lease_name(ID): Held(raw, START_MS)})
    (found,) = (await read_marks(store, "chat", SIGNING_KEY.verify_key)).leases
    assert (found.created_ms, found.until_ms) == (START_MS, START_MS + length)


async def test_a_lease_is_there_while_the_work_runs() -> None:
    store, clock = MemoryStore(clock=FakeClock()), FakeClock()
    async with lease(store, clock, "chat", Purpose.SNAPSHOT, RANGES) as protection:
        assert protection.held
        (found,) = (await read_marks(store, "chat", SIGNING_KEY.verify_key)).leases
        assert (found.purpose, found.ranges, found.until_ms) == (
            Purpose.SNAPSHOT,
            RANGES,
            START_MS + LEASE_MS,
        )
    assert store.held == {}


async def test_a_lease_goes_when_the_work_fails_or_is_cancelled() -> None:
    store, reached = MemoryStore(), asyncio.Event()
    with pytest.raises(ArchiveError):
        async with lease(store, FakeClock(), "chat", Purpose.RESTORE, RANGES):
            raise ArchiveError("broken")
    assert store.held == {}

    async def work() -> None:
        async with lease(store, FakeClock(), "chat", Purpose.RESTORE, RANGES):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await reached.wait()
    assert len(store.held) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.held == {}


async def test_who_may_not_write_works_without_protection() -> None:
    async with lease(ReadOnly(), FakeClock(), "chat", Purpose.RESTORE, RANGES) as protection:
        assert not protection.held
        assert "read only" in str(protection.refusal)


async def test_a_store_that_does_not_answer_stops_the_work_before_it_begins() -> None:
    class Silent(MemoryStore):
        @override
        async def put(self, name: str, data: bytes) -> None:
            await super().put(name, data)
            raise StoreUnavailable("no answer")

    store = Silent()
    with pytest.raises(StoreUnavailable):
        async with lease(store, FakeClock(), "chat", Purpose.RESTORE, RANGES):
            raise AssertionError
    assert store.held == {}


async def test_a_lease_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    clock = FakeClock()
    failures = 3

    class Moody(MemoryStore):
        @override
        async def put(self, name: str, data: bytes) -> None:
            nonlocal failures
            if self.held and failures:
                failures -= 1
                raise StoreUnavailable("not now")
            await super().put(name, data)

    store = Moody(clock=clock)
    async with lease(store, clock, "chat", Purpose.RESTORE, RANGES):
        (first,) = store.held
        for _ in range(50):
            await asyncio.sleep(0)
        assert list(store.held) == [first]
        clock.advance(9 * 3600)
        for _ in range(1000):
            await asyncio.sleep(0)
            if first not in store.held:
                break
        (second,) = store.held
        assert second != first
        (found,) = (await read_marks(store, "chat", SIGNING_KEY.verify_key)).leases
        assert found.until_ms == clock.now_ms() + LEASE_MS
    assert failures == 0
    assert store.held == {}


async def test_names_of_every_tombstone_that_can_be_read() -> None:
    names = [deltas_name(G, 1), deltas_name(G, 2)]
    held = {
        tombstone_name(new_mark_id(START_MS)): Held(encode_tombstone(tombstone_of(5, names[:1])), 0),
        tombstone_name(new_mark_id(START_MS)): Held(encode_tombstone(tombstone_of(6, names[1:])), 9),
        tombstone_name(new_mark_id(START_MS)): Held(b"x", 0),
    }
    store = MemoryStore(held=held)
    assert await tombstoned_names(store) == frozenset(names)
    found = await read_marks(store, "chat", SIGNING_KEY.verify_key)
    assert {b.tombstone.created_ms: b.stored_ms for b in found.tombstones} == {5: 0, 6: 9}
    assert len(found.damaged) == 1
    held[tombstone_name(ID)] = Held(b"syncdT\x02\x00", 0)
    with pytest.raises(FormatVersionError):
        await tombstoned_names(store)


async def test_what_goes_while_it_is_read_is_left_out() -> None:
    class Fleeting(MemoryStore):
        @override
        async def get(self, name: str) -> bytes:
            self.held.pop(name)
            return await super().get(name)

    store = Fleeting(held={lease_name(ID): Held(encode_mark(a_lease()), 0)})
    assert await read_marks(store, "chat", SIGNING_KEY.verify_key) == module.Marks()
