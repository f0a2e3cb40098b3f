"""Hints that the application's files changed. The position is the truth; a poll is the net.

- Only an idle database is watched, until the first hint: every write to a watched file costs its writer
  (at full speed a quarter of its throughput), and a busy one is polled anyway.
- inotify(7), by way of the C library: nothing of ours runs while nothing changes. What else lies in the
  directory is written without a hint.
- An error (no watches left, the directory replaced, another kernel) only means that the poll has to do.
"""

import asyncio
import contextlib
import ctypes
import os
import struct
from pathlib import Path
from typing import Final

_EVENT: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_READ_BYTES: Final = 1 << 16
_MODIFIED: Final = 0x2  # IN_MODIFY
_CAME_OR_WENT: Final = 0x40 | 0x80 | 0x100 | 0x200  # IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE
# The first write of a transaction is seen before its commit; most have committed by then.
_SETTLE_SECONDS: Final = 0.01


class Watcher:
    """Watches one database's files while somebody waits for a change.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        path = path.resolve()  # SQLite keeps the log beside the file that a link leads to
        self._directory = path.parent
        self._names = {path.name, f"{path.name}-wal", f"{path.name}-journal"}
        self._hint = asyncio.Event()
        self._fd = -1
        self._directory_watch = -1

    async def wait(self, seconds: float) -> None:
        """Wait for a hint, at most this long. A hint that came since the last call ends it at once."""
        if self._fd < 0 and not self._hint.is_set():
            self._watch()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hint.wait()
                self._hint.clear()
                await asyncio.sleep(_SETTLE_SECONDS)

    def stop(self) -> None:
        """End the watching."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _watch(self) -> None:
        """Begin, where that is possible."""
        try:
            libc = ctypes.CDLL(None)
            self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                return
            add = libc.inotify_add_watch
        except (OSError, AttributeError):
            return
        self._directory_watch = add(self._fd, os.fsencode(self._directory), _CAME_OR_WENT)
        for name in self._names:
            add(self._fd, os.fsencode(self._directory / name), _MODIFIED)
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            raw = os.read(self._fd, _READ_BYTES)
            at = 0
            while at < len(raw):
                watch, _, _, length = _EVENT.unpack_from(raw, at)
                at += _EVENT.size + length
                name = os.fsdecode(raw[at - length : at].rstrip(b"\0"))
                if watch != self._directory_watch or name in self._names:
                    self._hint.set()
                    self.stop()
                    return
