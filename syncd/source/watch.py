"""Hints that the application's files changed. The position is the truth; a poll is the net.

watchfiles runs a thread; its events are coalesced into one flag, and an error of the watcher (no inotify
watches left, the directory replaced) only means that the poll has to do.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import watchfiles

_DEBOUNCE_MS: Final = 50
_STEP_MS: Final = 20


class Watcher:
    """Watches one database's files for as long as `run` runs."""

    def __init__(self, path: Path) -> None:
        path = path.resolve()  # SQLite keeps the log beside the file that a link leads to
        self._directory = path.parent
        self._names = {path.name, f"{path.name}-wal", f"{path.name}-journal"}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled, or until the directory cannot be watched."""
        stop = asyncio.Event()
        with contextlib.suppress(OSError):
            try:
                async for _ in watchfiles.awatch(
                    self._directory,
                    watch_filter=lambda _, path: Path(path).name in self._names,
                    debounce=_DEBOUNCE_MS,
                    step=_STEP_MS,
                    stop_event=stop,
                    recursive=False,
                ):
                    self._changed.set()
            finally:
                stop.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a hint, at most this long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()
