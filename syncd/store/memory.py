"""A store in memory, stricter than any real one; for tests.

- Holds to every rule of `base`, also those that only some servers enforce.
- Gives way to other tasks in every call, so that races show.
- Two stores over the same `held` dictionary are two clients of one server, or one before and
  after a restart.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from typing_extensions import override

from syncd.clock import Clock, SystemClock
from syncd.errors import ObjectExists, ObjectNotFound, StoreRefused
from syncd.store.base import ObjectInfo, Store, check_directory, check_name, check_prefix, is_name


@dataclass(frozen=True, slots=True)
class Held:
    """What the memory keeps of one object."""

    data: bytes
    modified_ms: int


class MemoryStore(Store):
    """Keeps objects in `held`, dated by `clock`."""

    def __init__(
        self, *, url: str = "memory:", clock: Clock | None = None, held: dict[str, Held] | None = None
    ) -> None:
        self.held = {} if held is None else held
        self._url = url
        self._clock = clock or SystemClock()
        self._closed = False

    @property
    @override
    def url(self) -> str:
        return self._url

    @override
    async def put(self, name: str, data: bytes) -> None:
        check_name(name)
        await self._arrive()
        if name in self.held:
            if self.held[name].data != data:
                raise ObjectExists(f"{self._url}: {name} was created before")
            return
        parts = name.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        if self._is_directory(name) or any(other in self.held for other in above):
            raise StoreRefused(f"{self._url}: {name} would be an object and a directory")
        self.held[name] = Held(bytes(data), self._clock.now_ms())

    @override
    async def get(self, name: str) -> bytes:
        check_name(name)
        await self._arrive()
        if name not in self.held:
            raise ObjectNotFound(f"{self._url}: no object {name}")
        return self.held[name].data

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        check_prefix(prefix)
        if after and self._is_directory(after):
            raise ValueError(f"{after} is a directory, not the name of an object")
        await self._arrive()
        for name, held in sorted(self.held.items()):
            if name.startswith(prefix) and name > after and is_name(name):
                yield ObjectInfo(name, len(held.data), held.modified_ms)

    @override
    async def dirs(self, prefix: str) -> list[str]:
        check_directory(prefix)
        await self._arrive()
        below = (name.removeprefix(prefix) for name in self.held if name.startswith(prefix) and is_name(name))
        return sorted({rest.partition("/")[0] for rest in below if "/" in rest})

    @override
    async def delete(self, name: str) -> None:
        check_name(name)
        await self._arrive()
        self.held.pop(name, None)

    @override
    async def close(self) -> None:
        self._closed = True

    def _is_directory(self, name: str) -> bool:
        return any(other.startswith(f"{name}/") for other in self.held)

    async def _arrive(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self._url} is used after close()")
        await asyncio.sleep(0)
