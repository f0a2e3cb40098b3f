"""A store whose every call is a point, and that lets a scenario do something while a call is on its way."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from typing_extensions import override

from syncd.store.base import ObjectInfo, Store
from tests.crashes.points import Fuse, Kind

T = TypeVar("T")


class PointedStore(Store):
    """`inner`, with a point at each call, and another one after those that change it.

    `meanwhile` is awaited once, before the first put of a name with `/packs/` in it.
    """

    def __init__(self, inner: Store, fuse: Fuse) -> None:
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self._inner = inner
        self._fuse = fuse

    @property
    @override
    def url(self) -> str:
        return self._inner.url

    @override
    async def put(self, name: str, data: bytes) -> None:
        meanwhile, self.meanwhile = (self.meanwhile, None) if "/packs/" in name else (None, self.meanwhile)
        if meanwhile is not None:
            await meanwhile()
        await self._changing(f"put {name}", lambda: self._inner.put(name, data))

    @override
    async def get(self, name: str) -> bytes:
        self._fuse.pass_point(Kind.STORE, f"get {name}")
        return await self._inner.get(name)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        self._fuse.pass_point(Kind.STORE, f"list {prefix}")
        async for info in self._inner.objects(prefix, after=after):
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        self._fuse.pass_point(Kind.STORE, f"dirs {prefix}")
        return await self._inner.dirs(prefix)

    @override
    async def delete(self, name: str) -> None:
        await self._changing(f"delete {name}", lambda: self._inner.delete(name))

    @override
    async def close(self) -> None:
        await self._inner.close()

    async def _changing(self, what: str, action: Callable[[], Awaitable[T]]) -> T:
        self._fuse.pass_point(Kind.STORE, what)
        result = await action()
        self._fuse.pass_point(Kind.STORE, f"{what}, done", done=True)
        return result
