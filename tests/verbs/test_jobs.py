"""Jobs: when they run, what is noted of them, and what their failures do."""

import asyncio

import pytest

from syncd.errors import SourceCorrupt, StateError, StoreUnavailable
from syncd.jobs import Task, run_due_jobs, run_jobs
from syncd.log import Event
from syncd.replica import Replica
from syncd.state import Job
from tests.verbs.bench import Bench

DAY_MS = 86_400_000


class Work:
    """Does what it is told: raises these errors, one a call, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.done = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.done.set()
        return f"call {self.calls}"


async def jobs(replica: Replica) -> dict[str, Job]:
    return await replica.state.jobs.all()


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.clock.ms = 1_900_000_000_000  # what the schedule of a real clock takes for the future
    return bench


async def test_what_was_never_seen_waits_from_now_on(bench: Bench) -> None:
    work = Work()
    task = Task("drill main", "1d", work)
    async with bench.replica() as replica:
        await run_due_jobs(replica, [task])
        assert (work.calls, (await jobs(replica))["drill main"].detail) == (0, "not yet")
        bench.clock.advance(86_399)
        await run_due_jobs(replica, [task])
        assert work.calls == 0
        bench.clock.advance(1)
        await run_due_jobs(replica, [task])
        assert (await jobs(replica))["drill main"] == Job("drill main", bench.clock.ms, True, "call 1")
        await run_due_jobs(replica, [task])
        assert work.calls == 1
    async with bench.replica() as replica:  # days later, once
        bench.clock.advance(10 * 86_400)
        await run_due_jobs(replica, [task])
        await run_due_jobs(replica, [task])
        assert work.calls == 2


async def test_a_failure_is_noted_and_holds_nothing_back(bench: Bench) -> None:
    bad, good = Work(StoreUnavailable("no answer")), Work()
    tasks = [Task("bad", "1h", bad), Task("good", "1h", good)]
    async with bench.replica() as replica:
        await run_due_jobs(replica, tasks)
        bench.clock.advance(7200)
        with pytest.raises(StoreUnavailable):
            await run_due_jobs(replica, tasks)
        assert good.calls == 1
        assert ((await jobs(replica))["bad"].ok, (await jobs(replica))["bad"].detail) == (False, "no answer")


async def run_until(replica: Replica, task: Task, event: asyncio.Event) -> None:
    running = asyncio.ensure_future(run_jobs(replica, [task]))
    try:
        async with asyncio.timeout(20):
            await event.wait()
            while not (await jobs(replica))[task.name].detail.startswith("call"):
                pass  # the look itself gives way
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_what_a_retry_can_help_is_tried_again(bench: Bench) -> None:
    work = Work(StoreUnavailable("one"), StoreUnavailable("two"))
    task = Task("prune main", "", work)
    task.due.set()
    async with bench.replica() as replica:
        await run_until(replica, task, work.done)
        failures = bench.log.of(Event.JOB_FAILED)
        assert [(f["job"], f["error"]) for f in failures] == [("prune main", "one"), ("prune main", "two")]
        assert all(isinstance(f["retry_ms"], int) for f in failures)
        assert (await jobs(replica))["prune main"].detail == "call 3"


async def test_what_no_retry_helps_waits_for_the_next_time(bench: Bench) -> None:
    work = Work(SourceCorrupt("page 3 is never used"))
    task = Task("check", "", work)
    task.due.set()
    async with bench.replica() as replica:
        running = asyncio.ensure_future(run_jobs(replica, [task]))
        async with asyncio.timeout(20):
            while "check" not in (known := await jobs(replica)) or known["check"].ok:
                pass  # the look itself gives way
            assert len(bench.log.of(Event.JOB_FAILED)) == 1
            assert (work.calls, (await jobs(replica))["check"].detail) == (1, "page 3 is never used")
            task.due.set()
            await work.done.wait()
            while not (await jobs(replica))["check"].ok:
                pass  # the look itself gives way
        running.cancel()
        await asyncio.wait([running])


async def test_a_missed_run_is_made_up_for_by_the_daemon(bench: Bench) -> None:
    work = Work()
    async with bench.replica() as replica:
        await replica.state.jobs.record(Job("drill main", 1_700_000_000_000, ok=True, detail="long ago"))
        await run_until(replica, Task("drill main", "0 5 * * 0", work), work.done)


async def test_a_state_that_fails_ends_the_jobs(bench: Bench) -> None:
    task = Task("check", "", Work(StateError("the disk is full")))
    task.due.set()
    async with bench.replica() as replica:
        with pytest.raises(ExceptionGroup) as caught:
            await run_jobs(replica, [task])
    assert isinstance(caught.value.exceptions[0], StateError)
