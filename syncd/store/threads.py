"""System calls of a file system that may hang, in threads, each with a deadline.

- Nothing can end a thread that waits for a dead file system. Its call fails at the deadline; the thread
  is left behind, and what it still does counts for nothing. Neither the loop nor the process waits for it
  at the end, as they would for a thread of an executor.
- Once `_MOST` of them are left behind, further calls fail at once, until one of them returns: a file system
  that hangs for days takes a few threads, not all.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from syncd.errors import StoreUnavailable

_MOST: Final = 4
_T = TypeVar("_T")


class Threads:
    """For one file system; `where` names it in messages, `seconds` is the deadline of a call."""

    def __init__(self, where: str, seconds: float) -> None:
        self._where = where
        self._seconds = seconds
        self._left: set[asyncio.Future[Any]] = set()

    async def run(self, what: str, work: Callable[[], _T], *, extra: float = 0.0) -> _T:
        """What `work` returns or raises; StoreUnavailable at the deadline, `extra` seconds later."""
        if len(self._left) >= _MOST:
            raise StoreUnavailable(f"{self._where}: {what}: the file system hangs")
        future = _begin(work)
        try:
            await asyncio.wait([future], timeout=self._seconds + extra)
        finally:
            if not future.done():
                self._left.add(future)
            future.add_done_callback(self._returned)
        if not future.done():
            raise StoreUnavailable(f"{self._where}: {what}: no answer from the file system in time")
        return future.result()

    def _returned(self, future: asyncio.Future[Any]) -> None:
        self._left.discard(future)
        if not future.cancelled():
            future.exception()  # what became of it matters to nobody now


def _begin(work: Callable[[], _T]) -> asyncio.Future[_T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def call() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 -- it is the caller's
            settle(future.set_exception, error)
        else:
            settle(future.set_result, result)

    def settle(how: Callable[..., None], what: object) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(how, what)

    threading.Thread(target=call, name="store", daemon=True).start()
    return future
