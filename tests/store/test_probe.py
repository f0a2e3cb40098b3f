"""Stores that do not keep their word are found out."""

import pytest
from typing_extensions import override

from syncd.errors import ObjectExists, StoreRefused, StoreUnfit
from syncd.store.memory import Held, MemoryStore
from syncd.store.probe import PROBE_NAME, probe


class Overwriting(MemoryStore):
    """As the JuiceFS gateway does: the condition is ignored without a word."""

    @override
    async def put(self, name: str, data: bytes) -> None:
        self.held[name] = Held(data, 0)


class Pretending(MemoryStore):
    """Keeps the first object, and says that it stored the second."""

    @override
    async def put(self, name: str, data: bytes) -> None:
        self.held.setdefault(name, Held(data, 0))


class Contradicting(Overwriting):
    """Says that the name exists, and overwrites."""

    @override
    async def put(self, name: str, data: bytes) -> None:
        existed = name in self.held
        await super().put(name, data)
        if existed:
            raise ObjectExists(name)


class Forgetting(MemoryStore):
    """Stores nothing."""

    @override
    async def put(self, name: str, data: bytes) -> None:
        pass


class WithoutDelete(MemoryStore):
    """The key has no permission to delete."""

    @override
    async def delete(self, name: str) -> None:
        raise StoreRefused(name)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (Overwriting, "overwrote it"),
        (Pretending, "kept the old object and reported success"),
        (Contradicting, "overwrote the object all the same"),
        (Forgetting, "could not be found"),
    ],
)
async def test_a_store_that_does_not_create_once_is_unfit(store: type[MemoryStore], words: str) -> None:
    unfit = store()
    for _ in range(2):
        with pytest.raises(StoreUnfit, match=words) as caught:
            await probe(unfit)
        assert "conditional creates" in caught.value.hint


async def test_the_probe_needs_no_delete() -> None:
    store = WithoutDelete()
    await probe(store)
    await probe(store)
    assert list(store.held) == [PROBE_NAME]


async def test_what_a_bad_store_left_does_not_condemn_a_good_one() -> None:
    bad = Overwriting()
    with pytest.raises(StoreUnfit):
        await probe(bad)
    await probe(MemoryStore(held=bad.held))
