"""Behaviour added to a store by wrapping it.

- `PrefixStore` is the same store below a sub-prefix: several databases in one target.
- `MeteredStore` counts calls and bytes, for status and benchmarks.
- `WatchedStore` tells of calls that have no answer yet, while it waits on.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from syncd.errors import StoreError
from syncd.store.base import ObjectInfo, Store, check_directory, check_name, check_prefix

_FIRST_RATE: Final = float(2 << 20)  # bytes a second, until one is known; and never more
_LARGE: Final = 64 * 1024


class PrefixStore(Store):
    """The objects of `inner` below `prefix`, under names without it; both together make a name.

    `close` leaves `inner` open: others may share it, and whoever opened it closes it.
    """

    def __init__(self, inner: Store, prefix: str) -> None:
        check_directory(prefix)
        self._inner = inner
        self._prefix = prefix

    @override
    def __repr__(self) -> str:
        return f"PrefixStore({self._inner!r}, {self._prefix!r})"

    @property
    @override
    def url(self) -> str:
        return f"{self._inner.url.rstrip('/')}/{self._prefix.rstrip('/')}"

    @override
    async def put(self, name: str, data: bytes) -> None:
        check_name(name)
        await self._inner.put(self._prefix + name, data)

    @override
    async def get(self, name: str) -> bytes:
        check_name(name)
        return await self._inner.get(self._prefix + name)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        check_prefix(prefix)
        inner_after = self._prefix + after if after else ""
        async for info in self._inner.objects(self._prefix + prefix, after=inner_after):
            yield dataclasses.replace(info, name=info.name.removeprefix(self._prefix))

    @override
    async def dirs(self, prefix: str) -> list[str]:
        check_directory(prefix)
        return await self._inner.dirs(self._prefix + prefix)

    @override
    async def delete(self, name: str) -> None:
        check_name(name)
        await self._inner.delete(self._prefix + name)

    @override
    async def close(self) -> None:
        """See the class."""


def prefixed(store: Store, prefix: str) -> Store:
    """`store` below `prefix` (a directory with its slash); `store` itself where it is empty."""
    return PrefixStore(store, prefix) if prefix else store


@dataclass(slots=True)
class Usage:
    """Calls since the start, failed ones included; bytes of the puts and gets that succeeded."""

    puts: int = 0
    gets: int = 0
    lists: int = 0
    deletes: int = 0
    failures: int = 0
    put_bytes: int = 0
    get_bytes: int = 0


class MeteredStore(Store):
    """Counts into `usage` what goes through it. A listing is one call, however many pages it has."""

    def __init__(self, inner: Store) -> None:
        self.usage = Usage()
        self._inner = inner

    @override
    def __repr__(self) -> str:
        return f"MeteredStore({self._inner!r})"

    @property
    @override
    def url(self) -> str:
        return self._inner.url

    @override
    async def put(self, name: str, data: bytes) -> None:
        self.usage.puts += 1
        try:
            await self._inner.put(name, data)
        except StoreError:
            self.usage.failures += 1
            raise
        self.usage.put_bytes += len(data)

    @override
    async def get(self, name: str) -> bytes:
        self.usage.gets += 1
        try:
            data = await self._inner.get(name)
        except StoreError:
            self.usage.failures += 1
            raise
        self.usage.get_bytes += len(data)
        return data

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        self.usage.lists += 1
        try:
            async for info in self._inner.objects(prefix, after=after):
                yield info
        except StoreError:
            self.usage.failures += 1
            raise

    @override
    async def dirs(self, prefix: str) -> list[str]:
        self.usage.lists += 1
        try:
            return await self._inner.dirs(prefix)
        except StoreError:
            self.usage.failures += 1
            raise

    @override
    async def delete(self, name: str) -> None:
        self.usage.deletes += 1
        try:
            await self._inner.delete(name)
        except StoreError:
            self.usage.failures += 1
            raise

    @override
    async def close(self) -> None:
        await self._inner.close()


class WatchedStore(Store):
    """Calls `on_slow` where a call has no answer after `seconds`, with what is waited for; and waits on.

    A put has as long again as its bytes took at the speed of the last large one, twice over: a slow line
    that moves is nothing to tell. `on_slow` (the call, and for how many seconds it waits) runs in a task of
    its own, which ends with the call.
    """

    def __init__(
        self, inner: Store, on_slow: Callable[[str, float], Coroutine[object, object, None]], seconds: float
    ) -> None:
        self._inner = inner
        self._on_slow = on_slow
        self._seconds = seconds
        self._rate = _FIRST_RATE

    @override
    def __repr__(self) -> str:
        return f"WatchedStore({self._inner!r})"

    @property
    @override
    def url(self) -> str:
        return self._inner.url

    @override
    async def put(self, name: str, data: bytes) -> None:
        started = asyncio.get_running_loop().time()
        async with self._watched(f"put {name}", self._seconds + 2 * len(data) / self._rate):
            await self._inner.put(name, data)
        if len(data) >= _LARGE:
            elapsed = asyncio.get_running_loop().time() - started
            self._rate = min(_FIRST_RATE, len(data) / max(elapsed, 0.001))

    @override
    async def get(self, name: str) -> bytes:
        async with self._watched(f"get {name}"):
            return await self._inner.get(name)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        listing = self._inner.objects(prefix, after=after)
        while True:
            async with self._watched(f"list {prefix}"):
                try:
                    info = await anext(listing)
                except StopAsyncIteration:
                    return
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        async with self._watched(f"list {prefix}"):
            return await self._inner.dirs(prefix)

    @override
    async def delete(self, name: str) -> None:
        async with self._watched(f"delete {name}"):
            await self._inner.delete(name)

    @override
    async def close(self) -> None:
        await self._inner.close()

    @asynccontextmanager
    async def _watched(self, what: str, seconds: float = 0.0) -> AsyncIterator[None]:
        seconds = seconds or self._seconds
        telling: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            seconds, lambda: telling.append(loop.create_task(self._on_slow(what, seconds)))
        )
        try:
            yield
        finally:
            timer.cancel()
            for task in telling:
                task.cancel()
                await asyncio.wait([task])
