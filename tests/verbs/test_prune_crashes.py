"""A prune that ends, fails or is cancelled at any call of the store loses nothing, and is finished later.

Every seventh point by default; all of them with SYNCD_CRASHES=all.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from enum import Enum, auto

import pytest
from typing_extensions import override

from syncd.archive import read_manifest
from syncd.errors import StoreUnavailable
from syncd.format.names import pack_name
from syncd.store.base import ObjectInfo
from syncd.store.memory import Held, MemoryStore
from tests.verbs.prunable import VERIFY_KEY, Archive

RUNS = 4
STEP = 1 if os.environ.get("SYNCD_CRASHES") == "all" else 7


class End(Enum):
    DIE = auto()
    FAIL = auto()
    CANCEL = auto()


class Died(BaseException):
    """The process is no more."""


class Fused(MemoryStore):
    """A point before and after every call, listings included; it burns at point `at`."""

    def __init__(self, archive: Archive, at: int, end: End) -> None:
        super().__init__(held=archive.held, clock=archive.clock)
        self.count, self.burnt = 0, False
        self._at, self._end = at, end
        self._task = asyncio.current_task()

    def _point(self) -> None:
        if self.burnt and self._end is End.DIE:
            raise Died
        self.count += 1
        if self.count == self._at:
            self.burnt = True
            if self._end is End.CANCEL:
                assert self._task is not None
                self._task.cancel()
            else:
                raise Died if self._end is End.DIE else StoreUnavailable("it was told to fail")

    @override
    async def put(self, name: str, data: bytes) -> None:
        self._point()
        await super().put(name, data)
        self._point()

    @override
    async def get(self, name: str) -> bytes:
        self._point()
        return await super().get(name)

    @override
    async def delete(self, name: str) -> None:
        self._point()
        await super().delete(name)
        self._point()

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        self._point()
        async for info in super().objects(prefix, after=after):
            yield info


def made() -> Archive:
    """Two generations; of the older one nothing stays."""
    archive = Archive()
    archive.days(3)
    archive.begin()
    archive.days(6)
    return archive


async def played(at: int, end: End) -> tuple[Archive, int]:
    """Prune day after day; the process ends at point `at` of all runs together, then goes on."""
    archive = made()
    fused = Fused(archive, at, end)
    for _ in range(RUNS):
        survived = await survives(archive, fused)
        check_whole(archive.held)
        if not survived:
            await archive.prune()
        check_whole(archive.held)
        archive.clock.advance(86_400)
    return archive, fused.count


async def survives(archive: Archive, fused: Fused) -> bool:
    if fused.burnt and fused._end is End.DIE:
        await archive.prune()
        return True
    try:
        await archive.prune(fused)
    except (Died, StoreUnavailable):
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        while task.uncancel():
            pass
        return False
    return True


def check_whole(held: dict[str, Held]) -> None:
    """Every snapshot that is there has its packs and its epoch, and those that stay are there."""
    for name, each in held.items():
        if "/snapshots/" in name:
            generation, seq = name.split("/")[1], int(name[-16:], 16)
            manifest = read_manifest(
                each.data, generation=generation, seq=seq, database="chat", verify_key=VERIFY_KEY
            )
            for pack in manifest.packs:
                assert pack_name(generation, pack.pack_id) in held
            assert f"generations/{generation}/epochs/00000001" in held
        elif "/deltas/" in name:
            # The archive's bundles hold five deltas; every tenth position has a snapshot.
            directory, first = name[:-16], int(name[-16:], 16)
            assert first % 10 == 1 or f"{directory}{first - 5:016x}" in held, name
            assert f"{directory[:-7]}snapshots/{first // 10 * 10:016x}" in held, name


def lasting(archive: Archive) -> set[str]:
    """Generations by their order, since each archive has names of its own."""
    order = sorted({name.split("/")[1] for name in archive.held if name.startswith("generations/")})
    return {
        f"{order.index(name.split('/')[1])} {name[-20:]}" for name in archive.held if name.startswith("g")
    }


@pytest.mark.parametrize("end", End)
async def test_a_prune_may_end_at_any_call(end: End) -> None:
    straight, points = await played(0, End.DIE)
    expected = lasting(straight)
    assert straight.names("tombstones") == straight.names("leases") == []
    assert straight.numbers("snapshots") == [30, 40, 50]
    assert points > 100
    for at in range(1, points + 1, STEP):
        archive, _ = await played(at, end)
        for _ in range(2):  # a run that came late leaves its tombstone, and its lease, to the next
            await archive.prune()
            archive.clock.advance(86_400)
        assert lasting(archive) == expected, at
        assert archive.names("tombstones") == archive.names("leases") == [], at


@pytest.mark.parametrize("end", End)
async def test_the_fuse_burns(end: End) -> None:
    archive = made()
    fused = Fused(archive, 5, end)
    assert await survives(archive, fused) is False
    assert fused.burnt
