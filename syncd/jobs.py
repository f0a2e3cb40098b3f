"""The calendar of one database: jobs that wait for their event, do their work, and note what came of it.

- A job that never ran counts from the moment it was first seen.
- What a retry can help is tried again with a growing delay; anything else waits for the next time.
- A state that fails ends everything, as it does in capture and shipping.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from syncd.errors import StateError, SyncdError
from syncd.log import Event, Log
from syncd.replica import Replica
from syncd.schedule import Schedule, next_run
from syncd.state import Job

_FIRST_DELAY: Final = 5.0
_LONGEST_DELAY: Final = 600.0


@dataclass(frozen=True, slots=True)
class Task:
    """A job: its name in the state, its schedule, and what it does.

    `work` returns in a few words what it did; what it raises is the job's failure. `due` may be set by
    others as well.
    """

    name: str
    schedule: str
    work: Callable[[], Awaitable[str]]
    due: asyncio.Event = field(default_factory=asyncio.Event)


async def run_jobs(replica: Replica, tasks: Sequence[Task]) -> None:
    """Run these jobs by their schedules until cancelled. Raises StateError."""
    schedule = Schedule()
    for task in tasks:
        schedule.add(task.schedule, await _last_run(replica, task), task.due)
    schedule.start()
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(_wait_and_work(replica, task))
    finally:
        schedule.stop()


async def run_due_jobs(replica: Replica, tasks: Sequence[Task]) -> None:
    """Run once what is due, for a daemon that does not stay. Raises the first SyncdError, after all ran."""
    failures: list[SyncdError] = []
    for task in tasks:
        due_ms = next_run(task.schedule, await _last_run(replica, task))
        if task.due.is_set() or (due_ms is not None and due_ms <= replica.clock.now_ms()):
            try:
                await _work(replica, task)
            except SyncdError as e:
                await _record(replica, task, e.message, ok=False)
                failures.append(e)
    if failures:
        raise failures[0]


async def _last_run(replica: Replica, task: Task) -> int:
    job = (await replica.state.jobs.all()).get(task.name)
    if job is None:
        job = Job(task.name, replica.clock.now_ms(), ok=True, detail="not yet")
        await replica.state.jobs.record(job)
    return job.last_ms


async def _wait_and_work(replica: Replica, task: Task) -> None:
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(e, SyncdError) and e.retryable),
        wait=wait_random_exponential(multiplier=_FIRST_DELAY, max=_LONGEST_DELAY),
        sleep=replica.clock.sleep,
        before_sleep=_reporter(replica.log, task.name),
        reraise=True,
    )
    while True:
        await task.due.wait()
        task.due.clear()
        try:
            await retrying(_work, replica, task)
        except StateError:
            raise
        except SyncdError as e:
            replica.log(Event.JOB_FAILED, job=task.name, error=str(e))
            await _record(replica, task, e.message, ok=False)


async def _work(replica: Replica, task: Task) -> None:
    await _record(replica, task, await task.work(), ok=True)


async def _record(replica: Replica, task: Task, detail: str, *, ok: bool) -> None:
    await replica.state.jobs.record(Job(task.name, replica.clock.now_ms(), ok, detail))


def _reporter(log: Log, job: str) -> Callable[[RetryCallState], None]:
    def report(attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        delay = attempt.next_action.sleep if attempt.next_action else 0.0
        log(Event.JOB_FAILED, job=job, error=str(error), retry_ms=round(delay * 1000))

    return report
