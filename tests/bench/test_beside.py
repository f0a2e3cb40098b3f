"""Slices of the benchmarks: that they run, and that what they say can be right. No number is judged."""

from pathlib import Path

from tests.bench import memory
from tests.bench.beside import measure, summary
from tests.campaigns.rig import Depot


def test_the_writer_alone_and_beside_the_daemon() -> None:
    numbers = summary(measure("file", seconds=0.7, rounds=1, rate=100, max_delay=0.2))
    assert numbers["identical"]
    assert numbers["throughput_tx_per_s"]["beside"]["median"] > 0
    (full,) = numbers["full_speed"]
    assert full["deltas"] > 0
    assert 0 < full["bytes_per_message"] < 4096
    assert 0 < numbers["steady"]["writer"]["transactions"] <= 70
    assert numbers["steady"]["peak_mb"] > 0


def test_memory_in_stages(tmp_path: Path) -> None:
    numbers = memory.measure(tmp_path / "memory", Depot(), copy_mb=6, transaction_mb=10)
    assert numbers["identical"]
    copied, written = numbers["stages"]
    assert copied["peak_mb"] > 0
    assert written["seconds"] > 0
    assert numbers["deltas"] >= 2  # 10 MB do not fit into one piece
