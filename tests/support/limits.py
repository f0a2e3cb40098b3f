"""A store in memory that enforces what credentials may do, as a server with policies does."""

from collections.abc import AsyncIterator, Callable

from typing_extensions import override

from syncd.clock import Clock
from syncd.errors import ObjectExists, ObjectUnread, StoreRefused
from syncd.store.base import ObjectInfo
from syncd.store.memory import Held, MemoryStore

Rule = Callable[[str], bool]


def nothing(_name: str) -> bool:
    """May be done to no object."""
    return False


def anything(_name: str) -> bool:
    """May be done to every object."""
    return True


class LimitedStore(MemoryStore):
    """Each rule says whether it may be done to a name (`listed`: a prefix); `refused` has what was not."""

    def __init__(
        self,
        held: dict[str, Held],
        clock: Clock,
        *,
        put: Rule = anything,
        read: Rule = nothing,
        listed: Rule = nothing,
        deleted: Rule = nothing,
    ) -> None:
        super().__init__(held=held, clock=clock)
        self._may_put, self._may_read, self._may_list, self._may_delete = put, read, listed, deleted
        self.refused: list[tuple[str, str]] = []

    @override
    async def put(self, name: str, data: bytes) -> None:
        self._check(self._may_put, "put", name)
        existed = name in self.held
        try:
            await super().put(name, data)
        except ObjectExists as e:
            raise e if self._may_read(name) else ObjectUnread(name) from e
        if existed and not self._may_read(name):
            raise ObjectUnread(name)

    @override
    async def get(self, name: str) -> bytes:
        self._check(self._may_read, "get", name)
        return await super().get(name)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        self._check(self._may_list, "list", prefix)
        async for info in super().objects(prefix, after=after):
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        self._check(self._may_list, "list", prefix)
        return await super().dirs(prefix)

    @override
    async def delete(self, name: str) -> None:
        self._check(self._may_delete, "delete", name)
        await super().delete(name)

    def _check(self, may: Rule, what: str, name: str) -> None:
        if not may(name):
            self.refused.append((what, name))
            raise StoreRefused(f"{what} {name}: access denied", hint="")
