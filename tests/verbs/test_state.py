"""syncd's own database: transactions are whole, nothing goes that a target may still need."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiosqlite
import pytest

from syncd.errors import StateError
from syncd.format.delta import SealedDelta
from syncd.format.head import Head
from syncd.format.manifest import encode_manifest, encode_manifest_body
from syncd.format.names import deltas_name
from syncd.model import Digest
from syncd.state import Chain, Outgoing, Redo, State, Stored, open_state, read_status
from tests.format.support import MANIFEST

GENERATION = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
A, B, C = ("a", "memory:a"), ("b", "memory:b"), ("c", "memory:c")


def chain(seq: int, *, boundary: bool = True) -> Chain:
    return Chain(GENERATION, seq, Digest(seq), 4096, 3, boundary, f"position {seq}", 1000 + seq)


def outgoing(seq: int, *, epoch: int = 1, boundary: bool = True, size: int = 10) -> Outgoing:
    return Outgoing(SealedDelta(seq, epoch, bytes(size)), boundary, 1000 + seq, 1000 + seq)


async def commit(state: State, *seqs: int, epoch: int = 1, size: int = 10) -> None:
    for seq in seqs:
        redo = [Redo(seq, 4096, 3, rebase=False, images=b"")]
        await state.commit_delta(chain(seq), outgoing(seq, epoch=epoch, size=size), redo)


async def kept(state: State) -> list[int]:
    return [each.sealed.seq for each in await state.outgoing(0, 1 << 30)]


@asynccontextmanager
async def opened(path: Path, *targets: tuple[str, str]) -> AsyncIterator[State]:
    state = await open_state(path)
    try:
        await state.use_targets(targets)
        yield state
    finally:
        await state.close()


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db", A, B) as state:
        await state.begin_chain(chain(0))
        yield state


async def end(state: State, name: str, seq: int) -> None:
    manifest = replace(MANIFEST, seq=seq, captured_ms=1000, generation=GENERATION)
    raw = encode_manifest(encode_manifest_body(manifest), b"", bytes(64))
    await state.snapshots.end(name, manifest, raw, 2000)


async def begin(state: State, name: str, seq: int) -> None:
    await state.snapshots.begin(name, seq, first=True)
    await end(state, name, seq)


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db", A) as state:
        assert await state.chain() is None
        await state.begin_chain(chain(0))
        await begin(state, "a", 0)
        await commit(state, 1, 2)
        await state.move("elsewhere")
    async with opened(tmp_path / "state.db", A) as state:
        found = await state.chain()
        assert found is not None
        assert (found.seq, found.position, found.digest) == (2, "elsewhere", Digest(2))
        assert [row.seq async for row in state.redo()] == [1, 2]
        assert await kept(state) == [1, 2]
        assert (await state.target("a")).waiting_bytes == 20
        await state.trim_redo(1)
        assert [row.seq async for row in state.redo()] == [2]


async def test_a_transaction_is_whole_under_cancellation(state: State) -> None:
    await begin(state, "a", 0)
    for at in range(1, 40):
        before = await state.chain()
        assert before is not None
        seq = before.seq + 1
        task = asyncio.ensure_future(commit(state, seq))
        for _ in range(at):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        after = await state.chain()
        assert after is not None
        assert [row.seq async for row in state.redo()] == await kept(state) == list(range(1, after.seq + 1))
        assert after.seq in {seq - 1, seq}


async def test_a_transaction_that_fails_leaves_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    await begin(state, "a", 0)
    execute = aiosqlite.Connection.execute
    for failing in ("INSERT INTO redo", "INSERT INTO chain", "COMMIT"):

        async def refusing(
            connection: aiosqlite.Connection, sql: str, *values: object, failing: str = failing
        ) -> aiosqlite.Cursor:
            if sql.startswith(failing):
                raise sqlite3.OperationalError("database or disk is full")
            return await execute(connection, sql, *values)

        with monkeypatch.context() as patch:
            patch.setattr(aiosqlite.Connection, "execute", refusing)
            with pytest.raises(StateError, match="database or disk is full"):
                await commit(state, 1)
        assert await kept(state) == []
        assert await state.chain() == chain(0)
    await commit(state, 1)
    assert await kept(state) == [1]


async def test_several_tasks_write_and_read_at_once(state: State) -> None:
    await begin(state, "a", 0)

    async def look() -> None:
        for _ in range(20):
            found = await state.chain()
            assert found is not None
            assert found.seq >= len(await kept(state)) - 20

    await asyncio.gather(commit(state, *range(1, 21)), *(look() for _ in range(4)))
    assert await kept(state) == list(range(1, 21))


async def test_a_delta_stays_until_every_target_has_it(state: State) -> None:
    await begin(state, "a", 0)
    await begin(state, "b", 0)
    await commit(state, 1, 2, 3)
    await state.stored("a", [outgoing(1), outgoing(2), outgoing(3)], 2000)
    assert await kept(state) == [1, 2, 3]
    await state.stored("b", [outgoing(1), outgoing(2)], 2000)
    assert await kept(state) == [3]
    assert (await state.target("b")).waiting_bytes == 10
    assert (await state.target("a")).waiting_bytes == 0
    assert not await state.has_gap(2)
    assert await state.has_gap(1)


async def test_before_any_target_has_begun_nothing_waits(state: State) -> None:
    await commit(state, 1, 2)
    assert await kept(state) == []
    assert [row.seq async for row in state.redo()] == [1, 2]
    await begin(state, "a", 2)
    await commit(state, 3)
    assert await kept(state) == [3]
    assert not await state.has_gap(2)


async def test_a_target_that_has_not_begun_holds_nothing(state: State) -> None:
    await begin(state, "a", 0)
    await commit(state, 1, 2)
    await state.stored("a", [outgoing(1), outgoing(2)], 2000)
    assert await kept(state) == []
    await begin(state, "b", 2)
    await commit(state, 3)
    await state.stored("a", [outgoing(3)], 2000)
    assert await kept(state) == [3]


async def test_a_snapshot_that_is_being_taken_keeps_what_follows(state: State) -> None:
    await begin(state, "a", 0)
    await commit(state, 1)
    await state.snapshots.begin("b", 1, first=True)
    await commit(state, 2)
    await state.stored("a", [outgoing(1), outgoing(2)], 2000)
    assert await kept(state) == [2]
    assert (await state.target("b")).stored is None


async def test_a_target_that_is_removed_holds_nothing_and_has_a_gap_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with opened(path, A, B) as state:
        await state.begin_chain(chain(0))
        await begin(state, "a", 0)
        await begin(state, "b", 0)
    async with opened(path, A) as state:
        await commit(state, 1)
        await state.stored("a", [outgoing(1)], 2000)
        assert await kept(state) == []
        assert [target.name for target in read_status(path).targets] == ["a"]
    async with opened(path, A, B) as state:
        back = await state.target("b")
        assert back.cursor == 0
        assert await state.has_gap(back.cursor)


async def test_a_target_that_is_removed_and_back_in_time_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with opened(path, A, B) as state:
        await state.begin_chain(chain(0))
        await begin(state, "a", 0)
        await begin(state, "b", 0)
    async with opened(path, A) as state:
        await commit(state, 1)
    async with opened(path, A, B) as state:
        assert not await state.has_gap(0)
        assert (await state.target("b")).stored == 0


async def test_a_target_at_another_place_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with opened(path, A) as state:
        await state.begin_chain(chain(0))
        await begin(state, "a", 0)
    async with opened(path, ("a", "memory:elsewhere")) as state:
        target = await state.target("a")
        assert (target.cursor, target.snapshot, target.stored, target.epoch) == (None, None, None, 0)


async def test_a_new_generation_forgets_what_was_on_its_way(state: State) -> None:
    await begin(state, "a", 0)
    number = await state.next_epoch()
    await state.add_epoch(number, b"wrapped")
    await commit(state, 1)
    await state.begin_chain(chain(0))
    assert await kept(state) == []
    assert await state.epochs(0) == []
    assert [row async for row in state.redo()] == []
    assert (await state.target("a")).cursor is None


async def test_epochs_have_a_number_each_and_stay_while_needed(state: State) -> None:
    await begin(state, "a", 0)
    await begin(state, "b", 0)
    numbers = [await state.next_epoch() for _ in range(3)]
    assert numbers == sorted(set(numbers))
    for number in numbers:
        await state.add_epoch(number, b"wrapped")
    await commit(state, 1, epoch=numbers[0])
    await commit(state, 2, epoch=numbers[1])
    for name in ("a", "b"):
        await state.set_epoch(name, numbers[1])
        await state.stored(name, [outgoing(1)], 2000)
    assert [number for number, _ in await state.epochs(0)] == numbers[1:]
    await state.stored("a", [outgoing(2)], 2000)
    assert [number for number, _ in await state.epochs(0)] == numbers[1:]
    await state.stored("b", [outgoing(2)], 2000)
    assert [number for number, _ in await state.epochs(0)] == numbers[2:]


async def test_outgoing_is_bounded_but_never_empty(state: State) -> None:
    await begin(state, "a", 0)
    await commit(state, 1, 2, 3, size=100)
    assert [each.sealed.seq for each in await state.outgoing(0, 1)] == [1]
    assert [each.sealed.seq for each in await state.outgoing(0, 250)] == [1, 2]
    assert [each.sealed.seq for each in await state.outgoing(1, 250)] == [2, 3]
    assert [each.sealed.seq for each in await state.outgoing(0, 1000, most=2)] == [1, 2]
    assert await state.outgoing(3, 250) == []


async def test_only_a_boundary_counts_as_stored(state: State) -> None:
    await begin(state, "a", 0)
    await commit(state, 1, 2)
    await state.stored("a", [outgoing(1), outgoing(2, boundary=False)], 3000)
    target = await state.target("a")
    assert (target.cursor, target.stored, target.captured_ms) == (2, 1, 1001)


async def test_a_snapshot_that_overtakes_deltas_stays_what_is_stored(state: State) -> None:
    await begin(state, "a", 0)
    await commit(state, 1, 2, 3, 4, 5)
    await end(state, "a", 4)  # the calendar's, while the deltas before it still travel
    overtaken = await state.target("a")
    for seq, stored in ((2, 4), (4, 4), (5, 5)):
        bundle = Stored(deltas_name(GENERATION, seq), Head(GENERATION, seq, bytes(8)))
        await state.stored("a", [outgoing(seq)], 3000, bundle)
        target = await state.target("a")
        assert (target.cursor, target.stored) == (seq, stored)
        if stored == 4:
            assert (target.head, target.head_object) == (overtaken.head, overtaken.head_object)
    assert (await state.target("a")).head_object == deltas_name(GENERATION, 5)


async def test_status_reads_what_another_process_writes(tmp_path: Path, state: State) -> None:
    await begin(state, "a", 0)
    await state.set_source("/chat.db", "busy", "a transaction is being written", 5)
    await state.set_target("b", "failing", "no route to host", 6)
    status = read_status(tmp_path / "state.db")
    assert status.chain == chain(0)
    assert (status.path, status.source_state, status.source_error_ms) == ("/chat.db", "busy", 5)
    assert [(t.name, t.state, t.stored) for t in status.targets] == [("a", "ok", 0), ("b", "failing", None)]
    with pytest.raises(StateError, match="cannot be read"):
        read_status(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
