"""What a database's work ended with is told until it goes on."""

import asyncio
from pathlib import Path

from typing_extensions import override

from syncd.replica import open_replica
from syncd.troubles import Troubles
from tests.support.fakes import SEALING, FakeClock, Recorder


class StandingClock(FakeClock):
    """Sleeps until told."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    @override
    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.over.wait()


async def _settling(tmp_path: Path, clock: StandingClock, *, batch: bool) -> None:
    troubles = Troubles(clock)
    replica = await open_replica(
        "chat", tmp_path / "chat", sealing=SEALING, targets=[], clock=clock, log=Recorder()
    )
    try:
        await troubles.settle(replica)
        assert not clock.slept, "nothing is to be settled"
        troubles.note("chat", "the disk is full")
        settling = asyncio.create_task(troubles.settle(replica))
        for _ in range(10):
            await asyncio.sleep(0)
        assert troubles.report() == {"chat": "the disk is full"}
        if batch:
            replica.wake()
        else:
            clock.over.set()
        await settling
        assert troubles.report() == {}
        assert replica.wakes == []
    finally:
        await replica.close()


async def test_over_with_the_next_batch(tmp_path: Path) -> None:
    await _settling(tmp_path, StandingClock(), batch=True)


async def test_over_after_a_calm_time(tmp_path: Path) -> None:
    await _settling(tmp_path, StandingClock(), batch=False)
