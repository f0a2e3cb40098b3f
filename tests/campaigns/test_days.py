"""A slice of the 400 days; the calendar that the test walks, and the bars."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from syncd.policy import verdicts
from syncd.policy.inventory import Inventory
from syncd.policy.retention import Promise, Retention, promised
from tests.campaigns import days
from tests.campaigns.calendar_loop import run
from tests.campaigns.days import DAY, FULL, HOURLY, Course, Days, Wrong, bars, check_flat, named


@pytest.mark.parametrize(("rule", "every", "count"), [(FULL, 6, 12), (HOURLY, 1, 5)])
def test_what_stays_is_what_the_rule_names(tmp_path: Path, rule: Retention, every: int, count: int) -> None:
    course = run(Days(tmp_path, rule, every, random.Random(3)).live(count))
    assert course.kept >= 30
    assert course.restored >= course.kept
    assert len(course.bytes) == count


def test_a_rule_that_keeps_another_day_is_seen(tmp_path: Path) -> None:
    def more(there: Inventory, retention: Retention, now_ms: int) -> Promise:
        return promised(there, retention, now_ms - DAY)

    rule = Retention(pitr_ms=DAY, daily=3, max_share=1.0)
    with patch.object(verdicts, "promised", more), pytest.raises(Wrong):
        run(Days(tmp_path, rule, 6, random.Random(3)).live(6))


def test_the_restore_points_that_a_rule_names() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    snapshots = {24 * day: start + timedelta(days=day) for day in range(400)}
    now = start + timedelta(days=399, hours=12)  # 4 February 2027, a Thursday
    rule = Retention(pitr_ms=2 * DAY, daily=3, weekly=2, monthly=3, yearly=2)
    found = sorted(seq // 24 for seq in named(rule, snapshots, now))
    assert found == [364, 395, 397, 398, 399]
    assert [f"{start + timedelta(days=day):%m-%d}" for day in found[:2]] == ["12-31", "01-31"]


def test_bars() -> None:
    assert bars([0, 4, 8]) == " ▄█"
    assert bars([]) == ""
    assert len(bars(list(range(1000)))) == days.WIDTH


def test_growth_is_not_flat() -> None:
    rule = Retention(pitr_ms=DAY)
    flat = Course([1000] * 60, [40] * 60, [1] * 60)
    check_flat(flat, rule)
    with pytest.raises(Wrong, match="objects more"):
        check_flat(Course([1000] * 60, list(range(60)), [1] * 60), rule)
    with pytest.raises(Wrong, match="became"):
        check_flat(Course([100 * day for day in range(60)], [40] * 60, [1] * 60), rule)
