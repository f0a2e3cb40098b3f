"""What prune leaves can be restored, byte for byte, and the daemon goes on building on it."""

import random
import time
from dataclasses import replace

import pytest

from syncd.format.names import snapshot_name
from syncd.inventory import read_inventory
from syncd.policy.retention import Retention, promised
from syncd.prune import Report, prune
from syncd.ship import Shipper
from tests.support.fakes import SIGNING_KEY
from tests.verbs.bench import NAME, Bench

DAY_MS = 86_400_000
POLICY = Retention(pitr_ms=2 * DAY_MS, daily=5, max_share=0.5)


@pytest.fixture(autouse=True)
def today(bench: Bench) -> None:
    """Generations are named by the machine's clock, so the bench's must not be behind it."""
    bench.clock.ms = time.time_ns() // 1_000_000


async def pruned(bench: Bench, policy: Retention = POLICY) -> Report:
    return await prune(
        bench.store(),
        database=NAME,
        retention=policy,
        grace_ms=DAY_MS,
        clock=bench.clock,
        log=bench.log,
        verify_key=SIGNING_KEY.verify_key,
        dry_run=False,
    )


async def kept_seqs(bench: Bench, policy: Retention = POLICY) -> set[int]:
    """Every position of the truth that the policy promises."""
    there = await read_inventory(bench.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    promise = promised(there, policy, bench.clock.now_ms())
    seqs = {s.seq for s in promise.snapshots}
    return seqs | {seq for seq in bench.truth for r in promise.ranges if r.first_seq <= seq <= r.last_seq}


@pytest.mark.parametrize("seed", range(2))
async def test_every_kept_position_is_restored_day_after_day(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    before = 0
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        for day in range(9):
            for _ in range(3):
                bench.sql(
                    f"INSERT INTO t (a) VALUES (randomblob({rng.randrange(20_000)}))",
                    f"UPDATE t SET a = randomblob(9000) WHERE id % 5 = {day % 5}",
                )
                await bench.capture(replica)
                await shipper.ship()
                bench.clock.advance(8 * 3600)
            await shipper.snapshot("scheduled")
            before = max(before, len(bench.held))
            await pruned(bench)
            kept = await kept_seqs(bench)
            assert max(bench.truth) in kept
            for seq in rng.sample(sorted(kept), min(3, len(kept))):
                assert (await bench.restore(seq=seq))[1] == bench.truth[seq]
    for _ in range(4):
        await pruned(bench, replace(POLICY, max_share=1))
        bench.clock.advance(86_400)
    kept = await kept_seqs(bench)
    assert len(kept) < len(bench.truth)
    assert len(bench.held) < before
    for seq in sorted(kept):
        assert (await bench.restore(seq=seq))[1] == bench.truth[seq]
    assert (await bench.restore())[1] == bench.truth[max(bench.truth)]


async def test_the_daemon_goes_on_after_everything_old_went(bench: Bench) -> None:
    policy = Retention(pitr_ms=0, max_share=1)
    async with bench.replica() as replica:
        shipper = Shipper(replica, "main", bench.store())
        for _ in range(5):
            bench.sql(
                "INSERT INTO t (a) VALUES (randomblob(9000))", "UPDATE t SET a = randomblob(99) WHERE id = 1"
            )
            seq = await bench.capture(replica)
            await shipper.ship()
            await shipper.snapshot("scheduled")
            bench.clock.advance(2 * 86_400)
            await pruned(bench, policy)
            assert snapshot_name(replica.chain.generation, seq) in bench.held if replica.chain else False
            assert (await bench.restore())[1] == bench.truth[seq]
    assert (
        sum("/snapshots/" in name for name in bench.held) == 2
    )  # the last, and the one before it in its grace
