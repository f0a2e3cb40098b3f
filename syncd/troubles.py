"""What ended a database's work last, until it works again.

- For `syncd status`, which reads the state: a state that cannot be written cannot tell that.
- A trouble is over when a batch is in the outbox again, or nothing has failed for `_CALM_SECONDS`.
"""

import asyncio
from typing import Final

from syncd.clock import Clock
from syncd.replica import Replica

_CALM_SECONDS: Final = 15.0


class Troubles:
    """One sentence for each database that has one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sentences: dict[str, str] = {}

    def note(self, database: str, sentence: str) -> None:
        """Its work ended with this."""
        self._sentences[database] = sentence

    def report(self) -> dict[str, str]:
        """By database."""
        return dict(self._sentences)

    async def settle(self, replica: Replica) -> None:
        """Its work began anew: wait until it is seen to go on, and forget."""
        if replica.name not in self._sentences:
            return
        woken = asyncio.Event()
        replica.wakes.append(woken)
        calm = asyncio.ensure_future(self._clock.sleep(_CALM_SECONDS))
        waiting = {calm, asyncio.ensure_future(woken.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            replica.wakes.remove(woken)
            for each in waiting:
                each.cancel()
        self._sentences.pop(replica.name, None)
