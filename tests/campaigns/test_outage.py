"""A target that was away for long: few requests bring it up to date, and nothing grows past its limit."""

import re
from pathlib import Path

import pytest

from syncd.log import Event
from syncd.ship import Shipper
from syncd.state import STATE_FILE, read_status
from tests.campaigns.outage import outage
from tests.verbs.bench import ROW, Bench

BATCHES = 120


@pytest.mark.parametrize("outbox_bytes", [1 << 30, 20_000])
async def test_it_catches_up_with_few_large_objects(tmp_path: Path, outbox_bytes: int) -> None:
    outcome = await outage(tmp_path, batches=BATCHES, outbox_bytes=outbox_bytes, seed=1, messages=2000)
    assert outcome.exact
    assert outcome.most <= min(outbox_bytes, outcome.sealed)
    assert outcome.usage.puts <= 6
    if outbox_bytes < outcome.sealed:
        assert (outcome.snapshots, outcome.bundles, outcome.given_up) == (1, 0, BATCHES)
        assert 0 < outcome.dropped < BATCHES
    else:
        assert (outcome.snapshots, outcome.bundles, outcome.given_up) == (0, 1, 0)
        assert outcome.usage.put_bytes < 1.1 * outcome.sealed


async def test_what_is_given_up_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        replica.outbox_bytes = 8000
        for _ in range(6):
            bench.sql(ROW)
            await bench.capture(replica)
        (target,) = read_status(bench.state / STATE_FILE).targets
        assert target.given_up == 6
        assert sum(int(str(line["deltas"])) for line in bench.log.of(Event.OUTBOX_TRIMMED)) > 1
        await Shipper(replica, "main", bench.store()).ship()
        assert re.fullmatch("6 deltas were given up", str(bench.log.of(Event.SNAPSHOT_STARTED)[-1]["reason"]))
        (target,) = read_status(bench.state / STATE_FILE).targets
        assert (target.given_up, target.stored) == (0, 6)
