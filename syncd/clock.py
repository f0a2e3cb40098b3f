"""Time as an argument: everything that asks for the time asks a Clock. And what time must not cut."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, Protocol, TypeVar

_LOOK_SECONDS: Final = 5.0
_JUMP_MS: Final = 10_000
_T = TypeVar("_T")


class Clock(Protocol):
    """Where the time comes from. Tests pass their own."""

    def now_ms(self) -> int:
        """Wall clock, whole milliseconds since the Unix epoch; may jump either way."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for that long."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)


async def watch_jumps(clock: Clock, tell: Callable[[int], None]) -> None:
    """Tell by how many ms the wall clock jumped, if by 10 s or more; a host that slept jumps as well."""
    ahead = clock.now_ms() - clock.monotonic() * 1000
    while True:
        await clock.sleep(_LOOK_SECONDS)
        before, ahead = ahead, clock.now_ms() - clock.monotonic() * 1000
        if abs(ahead - before) >= _JUMP_MS:
            tell(round(ahead - before))


async def to_completion(work: Coroutine[object, object, _T]) -> _T:
    """Run `work` to its end even when cancelled, be it twice; the cancellation goes on afterwards.

    For short stretches that must not be left half done, such as a transaction.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # what became of it matters to nobody now
        raise
