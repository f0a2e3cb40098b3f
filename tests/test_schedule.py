import asyncio
import time

import pytest

from syncd.model import format_time, parse_time
from syncd.schedule import Schedule, next_run, parse_schedule

MONDAY = parse_time("2026-11-23T09:00:00Z")
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("6h", "2026-11-23T15:00:00.000Z"),
        ("1 w", "2026-11-30T09:00:00.000Z"),
        ("0 3 * * *", "2026-11-24T03:00:00.000Z"),
        ("*/15 * * * *", "2026-11-23T09:15:00.000Z"),
        # cron counts weekdays from Sunday
        ("0 5 * * 0", "2026-11-29T05:00:00.000Z"),
        ("0 5 * * 7", "2026-11-29T05:00:00.000Z"),
        ("0 5 * * sun", "2026-11-29T05:00:00.000Z"),
        ("0 5 * * 1-5", "2026-11-24T05:00:00.000Z"),
        ("0 5 * * 5-7", "2026-11-27T05:00:00.000Z"),
        ("0 5 * * 0-6/2", "2026-11-24T05:00:00.000Z"),
        ("0 5 * * 1/2", "2026-11-25T05:00:00.000Z"),
        ("0 5 * * 4,6", "2026-11-26T05:00:00.000Z"),
    ],
)
def test_the_next_run_after_the_last_one(text: str, due: str) -> None:
    following = next_run(text, MONDAY)
    assert following is not None
    assert format_time(following) == due


@pytest.mark.parametrize("text", ["", "  ", "0 0 31 2 *"])
def test_never(text: str) -> None:
    assert next_run(text, MONDAY) is None


@pytest.mark.parametrize(
    "text", ["daily", "5s", "0m", "* * * *", "* * * * * *", "60 * * * *", "x * * * *", "0 5 * * 5-1", "-1h"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is not a cron|at least a minute|runs backwards"):
        parse_schedule(text)


async def set_within(seconds: float, text: str, last_ms: int) -> bool:
    schedule, event = Schedule(), asyncio.Event()
    schedule.add(text, last_ms, event)
    schedule.start()
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    finally:
        schedule.stop()
    return True


@pytest.mark.parametrize("text", ["6h", "0 3 * * *"])
async def test_a_missed_run_is_made_up_for_at_once(text: str) -> None:
    assert await set_within(5, text, time.time_ns() // 1_000_000 - 100 * HOUR_MS)


@pytest.mark.parametrize("text", ["6h", "0 3 31 12 *", ""])
async def test_what_is_not_due_does_not_run(text: str) -> None:
    assert not await set_within(0.05, text, time.time_ns() // 1_000_000)


async def test_many_missed_runs_are_one() -> None:
    schedule, event = Schedule(), asyncio.Event()
    schedule.add("1h", time.time_ns() // 1_000_000 - 100 * HOUR_MS, event)
    schedule.start()
    async with asyncio.timeout(5):
        await event.wait()
    event.clear()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not event.is_set()
    schedule.stop()
