"""A store whose call number n fails, hangs, or loses its acknowledgement.

- Calls are counted from 1, in the order in which they arrive, whatever they are.
- To fail at every call in turn: run once without faults, to learn `calls`, then once for each.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import TypeVar

from typing_extensions import override

from syncd.errors import StoreUnavailable
from syncd.store.base import ObjectInfo, Store

T = TypeVar("T")


class Fault(Enum):
    """What happens at a call."""

    FAIL = auto()  # nothing is done
    LOSE_ACK = auto()  # it is done, and then reported as failed
    HANG = auto()  # nothing is done, and the call does not return
    HANG_AFTER = auto()  # it is done, and the call does not return


class FaultStore(Store):
    """`inner`, with `faults` at the calls of these numbers; `hanging` is set when a call hangs."""

    def __init__(self, inner: Store, faults: Mapping[int, Fault] | None = None) -> None:
        self.calls = 0
        self.hanging = asyncio.Event()
        self._inner = inner
        self._faults = dict(faults or {})

    @property
    @override
    def url(self) -> str:
        return self._inner.url

    @override
    async def put(self, name: str, data: bytes) -> None:
        await self._call(lambda: self._inner.put(name, data))

    @override
    async def get(self, name: str) -> bytes:
        return await self._call(lambda: self._inner.get(name))

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        async def collect() -> list[ObjectInfo]:
            return [info async for info in self._inner.objects(prefix, after=after)]

        for info in await self._call(collect):
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        return await self._call(lambda: self._inner.dirs(prefix))

    @override
    async def delete(self, name: str) -> None:
        await self._call(lambda: self._inner.delete(name))

    @override
    async def close(self) -> None:
        await self._inner.close()

    async def _call(self, action: Callable[[], Awaitable[T]]) -> T:
        self.calls += 1
        number = self.calls
        fault = self._faults.get(number)
        if fault is Fault.FAIL:
            raise StoreUnavailable(f"call {number} was told to fail")
        if fault is Fault.HANG:
            await self._hang()
        result = await action()
        if fault is Fault.HANG_AFTER:
            await self._hang()
        if fault is Fault.LOSE_ACK:
            raise StoreUnavailable(f"call {number} was told to lose its acknowledgement")
        return result

    async def _hang(self) -> None:
        self.hanging.set()
        await asyncio.Event().wait()
