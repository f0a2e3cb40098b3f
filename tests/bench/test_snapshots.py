"""Slices of the benchmarks of snapshots: that they run, and that what they say can be right."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from syncd.log import Event
from tests.bench.snapshots import READ_BOUND, broken, measure, sweep
from tests.bench.snapshots_beside import Delay, sealed_delays, stored_delays
from tests.bench.snapshots_beside import measure as measure_beside
from tests.bench.snapshots_days import OneByOne, Variant
from tests.campaigns.rig import Depot


async def test_days_of_two_variants(tmp_path: Path) -> None:
    variants = [Variant(pack_bytes=1 << 18), Variant("one by one", 1 << 18, dead_share=0.1, planner=OneByOne)]
    keepings, restored, stored = await measure(
        tmp_path, megabytes=4, days=4, kind="memory", seed=1, percent=1.0, variants=variants
    )
    first, *days = keepings[0].taken
    assert first.looked == first.changed == first.pages
    assert 0.9 < first.ratio < 1.2  # many small packs
    for day in days:
        assert 0 < day.changed < first.pages / 2
        assert day.read_bytes == (day.changed + day.moved) * 4096
        assert day.pages <= day.in_packs <= READ_BOUND * day.pages
    assert days[0].looked == days[0].changed
    assert 0 < days[0].shipped < 1.2 * days[0].stream_bytes
    assert [each.changed for each in keepings[1].taken] == [each.changed for each in keepings[0].taken]
    assert sum(each.moved for each in keepings[1].taken) > sum(each.moved for each in keepings[0].taken)
    assert broken(keepings[0].taken, restored[0]) == []
    for keeping, back, size in zip(keepings, restored, stored, strict=True):
        assert back.identical
        assert back.get_bytes >= keeping.taken[-1].kept_bytes
        assert size == sum(each.shipped for each in keeping.taken)
    wrong = replace(restored[0], identical=False)
    assert broken([first, replace(days[0], stream_bytes=1, in_packs=3 * first.pages)], wrong) == [
        f"the second snapshot shipped {days[0].shipped:.3f} times the zstd size of what changed",
        f"after day 1 a restore reads {3 * first.pages / days[0].pages:.3f} times the database",
        "the restored file is not identical",
    ]


def test_variants_differ_in_one_thing_and_in_their_names() -> None:
    variants = sweep("packs") + sweep("small")
    assert len({variant.name for variant in variants}) == len(variants) == len(set(variants))


def test_batches_beside_a_snapshot(tmp_path: Path) -> None:
    directory = tmp_path / "beside"
    stages, identical = measure_beside(directory, Depot(), megabytes=3, rate=100, seconds=1.5)
    assert identical
    assert [stage.name for stage in stages] == [
        *("the first", "no snapshot", "what changed", "what changed", "every page", "no snapshot")
    ]
    assert all(stage.shipped for stage in stages if stage.name != "no snapshot")
    assert stages[4].shipped > stages[2].shipped
    assert len(stages[1].sealed_ms) >= 1
    assert len(stages[1].stored_ms) >= 1


def test_delays() -> None:
    def at(second: int) -> str:
        return f"2026-01-01T00:00:{second:02}Z"

    lines: list[dict[str, Any]] = [
        {"event": Event.DELTA_SEALED, "timestamp": at(10)},
        {"event": Event.DELTA_SEALED, "timestamp": at(13)},
        {"event": Event.DELTAS_STORED, "timestamp": at(14), "lag_ms": 3500},
    ]
    assert [delay.ms for delay in sealed_delays(lines)] == [2000.0]
    (stored,) = stored_delays(lines)
    assert stored.ms == 2500.0
    assert Delay(5, 8).touches(7, 9)
    assert Delay(5, 8).touches(4, 6)
    assert not Delay(5, 8).touches(1, 5)
