"""Time as an argument: everything that asks for the time asks a Clock."""

import asyncio
import time
from typing import Protocol


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
