"""When an epoch ends, who may go on under it, and that its secret is gone then."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from syncd.archive import open_epoch
from syncd.envelope.epoch import Kind
from syncd.errors import StateError
from syncd.log import Event
from syncd.ship import Shipper
from syncd.snapshot import take_snapshot
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.bench import NAME, Bench, stop
from tests.verbs.remember import MASK

DAY = 86_400.0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.sql("CREATE TABLE message (body)")
    return bench


async def test_an_epoch_lasts_for_its_day_and_no_longer(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        first = await replica.key()
        bench.clock.advance(DAY - (bench.clock.ms / 1000) % DAY - 1)
        assert await replica.key() is first
        bench.clock.advance(1)
        second = await replica.key()
        assert second.number == first.number + 1
        assert second.secret != first.secret
        assert [line["epoch"] for line in bench.log.of(Event.EPOCH_STARTED)] == [1, 2]


async def test_a_clock_that_was_ahead_does_not_make_an_epoch_last(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        bench.clock.advance(1000 * DAY)
        ahead = await replica.key()
        bench.clock.advance(-1000 * DAY)
        assert (await replica.key()).number == ahead.number + 1


async def test_every_start_is_a_new_epoch(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.sql("INSERT INTO message VALUES (1)")
        async with bench.replica() as replica:
            await bench.capture(replica)
            assert (await replica.key()).number == number


async def test_a_rotation_begins_an_epoch_at_once(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        before = await replica.key()
        assert await replica.rotate() == before.number + 1
        (_, wrapped) = (await replica.state.epochs(before.number))[0]
        assert replica.chain is not None
        opened = open_epoch(
            wrapped,
            database=NAME,
            generation=replica.chain.generation,
            identity=IDENTITY,
            verify_key=SIGNING_KEY.verify_key,
        )
        assert opened == await replica.key() != before


async def test_no_rotation_without_a_generation(bench: Bench) -> None:
    async with bench.replica() as replica:
        with pytest.raises(StateError, match="no generation"):
            await replica.rotate()


async def test_a_quiet_database_lets_go_of_its_key_when_the_day_is_over(bench: Bench) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        secret = (await replica.key()).secret
        assert any(secret)
        expiring = asyncio.ensure_future(replica.expire_keys())
        until = bench.clock.ms + DAY * 1000 + 120_000
        for _ in range(2000):
            await asyncio.sleep(0)
        assert bench.clock.ms > until
        assert secret == bytes(32)
        await stop(expiring)


async def test_what_began_under_an_epoch_ends_under_it(bench: Bench) -> None:
    """A snapshot is under way while the epoch ends: its key lives as long as it, and it is restored."""
    store = bench.store()
    async with bench.replica() as replica:
        bench.sql("INSERT INTO message VALUES (zeroblob(300000))")
        seq = await bench.capture(replica)
        old = await replica.key()
        secret, number = old.secret, old.number
        del old
        waiting, going_on = asyncio.Event(), asyncio.Event()
        put = store.put

        async def slow(name: str, data: bytes) -> None:
            if "/packs/" in name:
                waiting.set()
                await going_on.wait()
            await put(name, data)

        store.put = slow  # type: ignore[method-assign]

        standing = Shipper(replica, "main", store)._standing
        taking = asyncio.ensure_future(
            take_snapshot(replica, "main", store, standing, first=True, reason="test")
        )
        await waiting.wait()
        assert await replica.rotate() == number + 1
        assert any(secret), "the snapshot needs it"
        going_on.set()
        assert await taking is not None
        del taking
        await asyncio.sleep(0)
        assert secret == bytes(32)
        bench.sql("INSERT INTO message VALUES (2)")
        after = await bench.capture(replica)
        await bench.ship(replica, store)
    for wanted in (seq, after):
        _, raw = await bench.restore(seq=wanted, store=store)
        assert raw == bench.truth[wanted]


def test_the_memory_of_a_process_has_no_secret_of_an_epoch_that_is_over(tmp_path: Path) -> None:
    """A child seals, rotates, and tells (masked) what its secret was; its memory is read from here."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.verbs.remember", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        lines = [bytes.fromhex(child.stdout.readline().decode()) for _ in range(2)]
        old, running = (bytes(byte ^ MASK for byte in line) for line in lines)
        assert found_in(child.pid, running) > 0, "the scan finds what is there"
        assert found_in(child.pid, old) == 0
        for kind in Kind:
            hkdf = HKDF(SHA256(), length=32, salt=None, info=b"syncd v1 key " + kind.value)
            assert found_in(child.pid, hkdf.derive(old)) == 0, kind
        child.stdin.close()
    assert child.returncode == 0


def found_in(pid: int, needle: bytes) -> int:
    count = 0
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            where, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(part, 16) for part in where.split("-"))
                memory.seek(start)
                try:
                    count += memory.read(end - start).count(needle)
                except OSError:  # a mapping of a device
                    continue
    return count
