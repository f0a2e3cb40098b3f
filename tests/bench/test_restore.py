"""A slice of the benchmark of restores: it runs, and what it says can be right. No number is judged."""

from pathlib import Path

import pytest

from tests.bench import restore, restore_litestream


@pytest.mark.parametrize("store", ["directory", "s3"])
def test_restores_next_to_cp_and_litestream(tmp_path: Path, store: str) -> None:
    copied, restored, *peer = restore.measure(tmp_path, megabytes=3, deltas=12, stores=(store,))
    assert [row["identical"] for row in (copied, restored, *peer)] == [True] * (2 + len(peer))
    assert len(peer) == (restore_litestream.find_litestream() is not None)
    assert (copied["times_cp"], restored["what"]) == (1.0, f"syncd, {store}")
    assert restored["requests"] >= 12  # an object for each delta
    assert restored["peak_mb"] > 0
