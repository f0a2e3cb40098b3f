"""Getting thousands of small objects with the help of other processes, see `helper`.

- A request to S3 costs the SDK a millisecond of Python, and all threads of a process share one interpreter:
  ten thousand bundles would take ten seconds on a machine of any size.
- Helpers start with the `_WORTH_IT`th bundle that is listed or asked for, since each takes a second of CPU
  and some 60 MB.
- A helper only ever saves time: what it fails to give, for whatever reason, is asked for here, where
  errors are told. It ends with this process, however that ends.
"""

import asyncio
import json
import os
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Final

from typing_extensions import override

from syncd.store.base import ObjectInfo, Store

# The number of a name, from 0, and its object's size or FAILED.
HEADER: Final = struct.Struct(">II")
FAILED: Final = (1 << 32) - 1

_WORTH_IT: Final = 300
# Each helper's share. A restore has 128 in flight; few are left to this process, which has to apply them too.
_AT_ONCE: Final = 112
_MOST: Final = 3
_PATIENCE: Final = 2.0  # times the deadline of a call


class HelpedStore(Store):
    """`inner`, helped by processes that open the same target by `options`, those of `open_store`."""

    def __init__(self, inner: Store, options: Mapping[str, object], *, timeout: float) -> None:
        self._inner = inner
        self._options = json.dumps(options)
        self._seconds = timeout * _PATIENCE
        self._bundles = 0
        self._helpers: list[_Helper] = []

    @override
    def __repr__(self) -> str:
        return f"HelpedStore({self._inner!r})"

    @property
    @override
    def url(self) -> str:
        return self._inner.url

    @override
    async def get(self, name: str) -> bytes:
        if self._count(name):
            helper = min(self._helpers, key=lambda helper: helper.busy, default=None)
            if helper is not None and helper.busy < _AT_ONCE:
                data = await helper.get(name)
                if data is not None:
                    return data
        return await self._inner.get(name)

    @override
    async def put(self, name: str, data: bytes) -> None:
        await self._inner.put(name, data)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        async for info in self._inner.objects(prefix, after=after):
            self._count(info.name)
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        return await self._inner.dirs(prefix)

    @override
    async def delete(self, name: str) -> None:
        await self._inner.delete(name)

    @override
    async def close(self) -> None:
        helpers, self._helpers = self._helpers, []
        for helper in helpers:
            await helper.close()
        await self._inner.close()

    def _count(self, name: str) -> bool:
        """Whether it is a bundle. Enough of them start the helpers."""
        if "/deltas/" not in name:
            return False
        self._bundles += 1
        if self._bundles == _WORTH_IT:
            self._helpers = [_Helper(self._options, self._seconds) for _ in range(_spare_processors())]
        return True


class _Helper:
    """One process. `busy` is how many answers it owes, or a great number where it cannot be asked."""

    def __init__(self, options: str, seconds: float) -> None:
        self.busy = sys.maxsize
        self._options = options
        self._seconds = seconds
        self._asked = 0
        self._owed: dict[int, asyncio.Future[bytes | None]] = {}
        self._ask: Callable[[str], None]
        self._running = asyncio.create_task(self._run())

    async def get(self, name: str) -> bytes | None:
        """The object; None where the helper cannot get it."""
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._owed[self._asked] = answer
        self._asked += 1
        self.busy += 1
        self._ask(name)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                return await answer
        return None

    async def close(self) -> None:
        """Kill it."""
        self._running.cancel()
        await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            # -P: the working directory is no place to import from.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "syncd.store.helper", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
        except OSError:
            return
        try:
            with suppress(EOFError, OSError):  # it ended
                await self._talk(process)
        finally:
            self.busy = sys.maxsize
            for answer in self._owed.values():
                if not answer.done():
                    answer.set_result(None)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _talk(self, process: Process) -> None:
        names, objects = process.stdin, process.stdout
        if names is None or objects is None:
            return  # never: both are pipes
        self._ask = lambda name: names.write(f"{name}\n".encode())
        self._ask(self._options)
        await objects.readexactly(HEADER.size)
        self.busy = 0
        while True:
            number, size = HEADER.unpack(await objects.readexactly(HEADER.size))
            data = None if size == FAILED else await objects.readexactly(size)
            self.busy -= 1
            answer = self._owed.pop(number)
            if not answer.done():
                answer.set_result(data)


def _spare_processors() -> int:
    return min(_MOST, len(os.sched_getaffinity(0)) - 1)
