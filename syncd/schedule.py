"""When something is due: cron expressions and intervals. The only import of APScheduler.

- A schedule is text: "" is never, "6h" an interval, "0 3 * * *" a cron expression in UTC.
- Jobs only set an event; who waits for it does the work.
- A run that was missed (the machine slept, the daemon was down) is made up for once, however many were.
"""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

_INTERVAL: Final = re.compile(r"([0-9]{1,6}) ?([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_RANGE: Final = re.compile(r"([0-7])(?:-([0-7]))?(?:/([1-7]))?")
# A timer counts only while the machine is awake: a look every minute finds what was slept through.
_TICK_SECONDS: Final = 60


def parse_schedule(text: str) -> BaseTrigger | None:
    """The trigger of a schedule, None for never. Raises ValueError."""
    text = text.strip()
    if not text:
        return None
    if interval := _INTERVAL.fullmatch(text):
        length = timedelta(**{_UNITS[interval[2]]: int(interval[1])})
        if length < timedelta(minutes=1):
            raise ValueError("an interval has at least a minute")
        return IntervalTrigger(seconds=round(length.total_seconds()), timezone=UTC)
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(
            'must be an interval such as "6h", a cron expression such as "0 3 * * *", or empty for never'
        )
    try:
        return CronTrigger(
            minute=fields[0],
            hour=fields[1],
            day=fields[2],
            month=fields[3],
            day_of_week=",".join(_weekdays(part) for part in fields[4].split(",")),
            timezone=UTC,
        )
    except ValueError as error:
        raise ValueError(f"is not a cron expression: {error}") from None


def next_run(text: str, last_ms: int) -> int | None:
    """When a schedule is due next, in ms, if it last ran at `last_ms`; None for never."""
    trigger = parse_schedule(text)
    if trigger is None:
        return None
    last = datetime.fromtimestamp(last_ms / 1000, UTC)
    if isinstance(trigger, IntervalTrigger):
        length: timedelta = trigger.interval
        return last_ms + length // timedelta(milliseconds=1)
    due: datetime | None = trigger.get_next_fire_time(last, last)
    return None if due is None else round(due.timestamp() * 1000)


class Schedule:
    """Sets events when they are due, from `start` to `stop`, in the running event loop."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._scheduler.add_job(_nothing, IntervalTrigger(seconds=_TICK_SECONDS, timezone=UTC))

    def add(self, text: str, last_ms: int, event: asyncio.Event) -> None:
        """Set `event` by this schedule; at once where a run is due since `last_ms`."""
        trigger, due_ms = parse_schedule(text), next_run(text, last_ms)
        if trigger is None or due_ms is None:
            return
        now = datetime.now(UTC)
        self._scheduler.add_job(
            _set,
            trigger,
            args=(event,),
            next_run_time=max(now, datetime.fromtimestamp(due_ms / 1000, UTC)),
            misfire_grace_time=None,
            coalesce=True,
        )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """No event is set any more."""
        self._scheduler.shutdown(wait=False)


async def _set(event: asyncio.Event) -> None:
    event.set()


async def _nothing() -> None:
    pass


def _weekdays(part: str) -> str:
    """Numbered weekdays by name: cron counts from Sunday (0 and 7), APScheduler from Monday."""
    found = _DAY_RANGE.fullmatch(part)
    if found is None:
        return part
    first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
    if found[3] and not found[2]:
        last = 6
    if last < first:
        raise ValueError(f"{part} runs backwards")
    return ",".join(_DAYS[day] for day in range(first, last + 1, step))
