"""Opening what an earlier process left: redo, a shadow that cannot be trusted, targets that changed."""

import os

import pytest

from syncd.errors import StateError
from syncd.log import Event
from syncd.replica import shadow_digest
from tests.verbs.bench import TARGETS, Bench

ROW = "INSERT INTO t (a) VALUES (randomblob(9000))"


async def test_redo_brings_back_what_the_shadow_lost(bench: Bench) -> None:
    replica = await bench.open()
    await bench.capture(replica)
    before = (bench.state / "shadow.db").read_bytes()
    for statement in (ROW, "DELETE FROM t", "VACUUM", "PRAGMA page_size=512; VACUUM", ROW):
        bench.sql(*statement.split(";"))
        await bench.capture(replica)
    bench.copy_state(bench.directory / "copy")
    await replica.close()
    (bench.directory / "copy" / "shadow.db").write_bytes(before)
    bench.log.lines.clear()
    async with bench.replica(state=bench.directory / "copy") as again:
        assert [fields["deltas"] for fields in bench.log.of(Event.REDO_REPLAYED)] == [5]
        assert again.chain == replica.chain
        assert again.chain is not None
        assert shadow_digest(again.shadow) == again.chain.digest
        assert (bench.directory / "copy" / "shadow.db").read_bytes() == bench.path.read_bytes()


async def test_a_clean_end_leaves_no_redo(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        bench.sql(ROW)
        await bench.capture(replica)
    bench.log.lines.clear()
    async with bench.replica() as replica:
        assert [row async for row in replica.state.redo()] == []
        assert not bench.log.of(Event.REDO_REPLAYED)


@pytest.mark.parametrize("damage", ["cut", "gone", "long"])
async def test_a_shadow_of_another_size_begins_a_new_generation(bench: Bench, damage: str) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        assert replica.chain is not None
        generation = replica.chain.generation
    shadow = bench.state / "shadow.db"
    match damage:
        case "cut":
            os.truncate(shadow, 100)
        case "gone":
            shadow.unlink()
        case _:
            os.truncate(shadow, 1 << 20)
    async with bench.replica() as replica:
        assert replica.chain is None
        assert await bench.capture(replica) == 0
        await bench.ship(replica)
        assert replica.chain is not None
        assert replica.chain.generation > generation
    assert (await bench.restore())[1] == bench.path.read_bytes()


async def test_a_shadow_that_is_wrong_after_a_crash_begins_a_new_generation(bench: Bench) -> None:
    replica = await bench.open()
    await bench.capture(replica)
    bench.sql(ROW)
    await bench.capture(replica)
    bench.copy_state(bench.directory / "copy")
    await replica.close()
    shadow = bench.directory / "copy" / "shadow.db"
    raw = bytearray(shadow.read_bytes())
    raw[9000] ^= 1  # page 3, which no redo brings
    shadow.write_bytes(raw)
    async with bench.replica(state=bench.directory / "copy") as again:
        assert again.chain is None


async def test_a_redo_that_cannot_be_read_is_an_error(bench: Bench) -> None:
    replica = await bench.open()
    await bench.capture(replica)
    bench.sql(ROW)
    await bench.capture(replica)
    async with replica.state._connection.transaction() as run:
        run("UPDATE redo SET images = x'0c0100'")
    bench.copy_state(bench.directory / "copy")
    await replica.close()
    with pytest.raises(StateError, match="a redo image in syncd's state cannot be read"):
        await bench.open(TARGETS, bench.directory / "copy")


async def test_a_state_of_another_version_is_refused(bench: Bench) -> None:
    async with bench.replica() as replica:
        await replica.state._connection._db.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="was made by a newer version of syncd"):
        await bench.open()


async def test_a_state_that_is_no_database_is_said(bench: Bench) -> None:
    bench.state.mkdir()
    (bench.state / "state.db").write_bytes(b"x" * 5000)
    with pytest.raises(StateError, match="cannot be used"):
        await bench.open()


async def test_the_state_directory_is_private(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        assert bench.state.stat().st_mode & 0o777 == 0o700
        for each in bench.state.iterdir():
            assert each.stat().st_mode & 0o077 == 0, each


async def test_no_key_without_a_generation(bench: Bench) -> None:
    async with bench.replica() as replica:
        with pytest.raises(StateError, match="there is no generation to seal for"):
            await replica.key()


async def test_a_full_disk_under_the_shadow_is_a_failing_state(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.replica() as replica:

        def full(*_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", full)
            with pytest.raises(StateError, match=r"shadow\.db cannot be read or written: No space left"):
                await bench.capture(replica)
