"""A few of the races; `python -m tests.campaigns.races` runs a thousand."""

from pathlib import Path

from tests.campaigns.races import SCENARIOS, campaign

RACES = 24


async def test_one_daemon_writes_whatever_the_order(tmp_path: Path) -> None:
    counts, wrong = await campaign(RACES, 1, tmp_path)
    assert not wrong
    assert [counts[scenario] for scenario in SCENARIOS] == [RACES // 3] * 3
