"""What cancellation must not cut; jumps of the wall clock."""

import asyncio

import pytest
from typing_extensions import override

from syncd.clock import to_completion, watch_jumps
from tests.support.fakes import FakeClock


async def test_work_ends_before_the_cancellation_goes_on() -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        await gate.wait()
        done.append("work")

    async def caller() -> None:
        try:
            await to_completion(work())
        finally:
            done.append("caller")

    task = asyncio.ensure_future(caller())
    for _ in range(3):  # a second signal, a third one
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work", "caller"]


async def test_a_result_and_a_failure_come_through() -> None:
    async def result() -> int:
        return 5

    async def failure() -> None:
        raise ValueError("no")

    assert await to_completion(result()) == 5
    with pytest.raises(ValueError, match="no"):
        await to_completion(failure())


async def test_a_failure_of_cancelled_work_is_not_reported_as_unseen() -> None:
    gate = asyncio.Event()

    async def failure() -> None:
        await gate.wait()
        raise ValueError

    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    task = asyncio.ensure_future(to_completion(failure()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await asyncio.sleep(0)
    assert not unseen


async def test_jumps_of_the_wall_clock_are_told_and_drift_is_not() -> None:
    class Jumping(FakeClock):
        jumps = iter([0, 9_000, -9_000, 10_000, 0, -86_400_000])

        @override
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            try:
                self.ms += next(self.jumps)
            except StopIteration:
                raise asyncio.CancelledError from None

    told: list[int] = []
    with pytest.raises(asyncio.CancelledError):
        await watch_jumps(Jumping(), told.append)
    assert told == [10_000, -86_400_000]
