"""Hints that the application's files changed. The position is the truth; a poll is the net.

- Only an idle database is watched, until the first hint: every write to a watched file costs its writer
  (at full speed a quarter of its throughput), and a busy one is polled anyway.
- watchfiles runs a thread; an error of the watcher (no inotify watches left, the directory replaced)
  only means that the poll has to do.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import watchfiles

# Its thread wakes that often for as long as nothing happens: at 5 ms that is 0.5 s of CPU a minute, at 25 ms
# twice of all else in an idle daemon, at 100 ms half. What is seen later costs a comparison, where a log is
# filled and reset before the first look: a thousand frames in two tenths of a second.
_STEP_MS: Final = 100
_DEBOUNCE_MS: Final = 25


class Watcher:
    """Watches one database's files while somebody waits for a change.

    Args:
        path: the database.
        group: where the watching task lives; it ends with the first hint, or with `stop`.
    """

    def __init__(self, path: Path, group: asyncio.TaskGroup) -> None:
        path = path.resolve()  # SQLite keeps the log beside the file that a link leads to
        self._directory = path.parent
        self._names = {path.name, f"{path.name}-wal", f"{path.name}-journal"}
        self._group = group
        self._watching: asyncio.Task[bool] | None = None

    async def wait(self, seconds: float) -> None:
        """Wait for a hint, at most this long. A hint that came since the last call ends it at once."""
        if self._watching is None:
            self._watching = self._group.create_task(self._watch())
        done, _ = await asyncio.wait([self._watching], timeout=seconds)
        if done:
            hinted = self._watching.result()
            self._watching = None
            if not hinted:
                await asyncio.sleep(seconds)

    def stop(self) -> None:
        """End the watching."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> bool:
        """True at the first hint, False where the directory cannot be watched."""
        stop = asyncio.Event()
        changes = watchfiles.awatch(
            self._directory,
            watch_filter=lambda _, path: Path(path).name in self._names,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=stop,
            recursive=False,
        )
        try:
            async with contextlib.aclosing(changes):
                async for _ in changes:
                    return True
        except OSError:
            pass
        finally:
            stop.set()
        return False
