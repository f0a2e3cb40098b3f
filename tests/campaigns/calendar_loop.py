"""A loop in which nothing depends on the machine's timing: threads' work is done where it is asked for.

- What would run in an executor runs at once, and syncd's own database is used without a thread of its own.
- That database is not synced to the disk, and files need no tick of the machine's clock to be quiet.
- So a seed gives the same history each time, and thousands of captures take seconds.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import Any, TypeVar, TypeVarTuple
from unittest.mock import patch

import aiosqlite
from typing_extensions import override

from syncd.source import files

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InlineLoop(asyncio.SelectorEventLoop):
    """An executor's work is done before the call returns."""

    @override
    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as e:  # noqa: BLE001 - whoever waits gets it
            future.set_exception(e)
        return future


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on a loop of this kind."""
    with ExitStack() as stack:
        connection = aiosqlite.Connection
        for name, method in (
            ("__await__", _open),
            ("_execute", _execute),
            ("stop", _stop),
        ):
            stack.enter_context(patch.object(connection, name, method))
        # The change counter in the header tells writes of the same tick apart.
        stack.enter_context(patch.object(files, "_COARSE", time.CLOCK_REALTIME))
        runner = stack.enter_context(asyncio.Runner(loop_factory=InlineLoop))
        return runner.run(work)


def _open(self: aiosqlite.Connection) -> Generator[None, None, aiosqlite.Connection]:
    self._connection = self._connector()
    yield
    return self


async def _execute(self: aiosqlite.Connection, work: Callable[..., T], *args: object, **kwargs: object) -> T:
    if self._connection is None:
        raise ValueError("Connection closed")
    result = work(*args, **kwargs)
    if "PRAGMA synchronous = FULL" in args:
        self._connection.execute("PRAGMA synchronous = OFF")
    await asyncio.sleep(0)
    return result


def _stop(self: aiosqlite.Connection) -> None:
    connection: sqlite3.Connection | None = self._connection
    if connection is not None:
        connection.close()
    self._connection = None
