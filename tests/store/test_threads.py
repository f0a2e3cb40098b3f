"""System calls that hang: the deadline, the threads left behind, and what happens when they return."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from syncd.errors import StoreUnavailable
from syncd.store.threads import Threads


@pytest.fixture
async def gate() -> AsyncIterator[threading.Event]:
    """Calls that wait for it hang until the test sets it, or ends."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_what_it_returns_and_raises() -> None:
    threads = Threads("file:///x", 60.0)
    assert await threads.run("get a", lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.run("get a", lambda: 1 // 0)


async def test_a_deadline(gate: threading.Event) -> None:
    threads = Threads("file:///x", 0.01)
    with pytest.raises(StoreUnavailable, match="file:///x: get a: no answer from the file system in time"):
        await threads.run("get a", gate.wait)


async def test_a_file_system_that_hangs_takes_a_few_threads(gate: threading.Event) -> None:
    threads = Threads("file:///x", 0.01)
    for _ in range(4):
        with pytest.raises(StoreUnavailable, match="no answer"):
            await threads.run("get a", gate.wait)
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="get b: the file system hangs"):
            await threads.run("get b", lambda: pytest.fail("it is not asked"))
    left = list(threads._left)
    gate.set()
    await asyncio.wait(left)
    assert await threads.run("get b", lambda: 7) == 7


async def test_a_cancelled_call_counts_as_left(gate: threading.Event) -> None:
    threads = Threads("file:///x", 60.0)
    task = asyncio.create_task(threads.run("put a", gate.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (left,) = threads._left
    gate.set()
    await asyncio.wait([left])
    assert threads._left == set()


async def test_what_a_late_call_raises_is_dropped(gate: threading.Event) -> None:
    def fail() -> None:
        gate.wait()
        raise OSError("too late")

    threads = Threads("file:///x", 0.01)
    with pytest.raises(StoreUnavailable):
        await threads.run("put a", fail)
    (left,) = threads._left
    gate.set()
    await asyncio.wait([left])
    assert threads._left == set()


async def test_a_failure_that_nobody_waits_for_any_more_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled when the call has just failed: asyncio would print a traceback later."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    waiting = asyncio.wait

    async def wait(*args: Any, **kwargs: Any) -> None:
        await waiting(*args, **kwargs)
        raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "wait", wait)
    with pytest.raises(asyncio.CancelledError):
        await Threads("file:///x", 60.0).run("get a", lambda: 1 // 0)
    await asyncio.sleep(0)
    gc.collect()
    assert told == []


def test_the_loop_does_not_wait_for_a_call_that_hangs() -> None:
    threads: list[threading.Thread] = []
    hung = threading.Event()

    def hang() -> None:
        threads.append(threading.current_thread())
        hung.wait()

    async def use() -> None:
        with pytest.raises(StoreUnavailable):
            await Threads("file:///x", 0.01).run("get a", hang)

    asyncio.run(use())
    (left,) = threads
    assert left.is_alive()
    hung.set()
    left.join()
