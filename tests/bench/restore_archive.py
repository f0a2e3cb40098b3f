"""A genuine archive for the benchmark of restores: one snapshot, and each transaction a delta of its own.

- Made by the pipeline itself: Replicator beside a writer in another process, Shipper to a directory.
- While it is made nothing is synced to disk: how fast an archive is written is not measured here.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from typing_extensions import override

from syncd.clock import SystemClock
from syncd.log import Event
from syncd.replica import open_replica
from syncd.replicate import Replicator
from syncd.ship import Shipper
from syncd.store.base import ObjectInfo, Store
from syncd.store.directory import DirectoryStore
from tests.campaigns.rig import ROOT
from tests.support.fakes import SEALING
from tests.support.oracle import fold
from tests.verbs.bench import restore

NAME = "chat"
_PATIENCE = 120.0
_LIST_PAGE = 1000


class Writer:
    """The process of `restore_history`."""

    def __init__(self, database: Path, megabytes: int) -> None:
        command = [sys.executable, "-m", "tests.bench.restore_history", str(database)]
        command += ["--megabytes", str(megabytes)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def post(self) -> None:
        """One transaction; returns when it is committed."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._answer()

    def close(self) -> None:
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the writer ended")


@contextmanager
def writer(database: Path, megabytes: int) -> Iterator[Writer]:
    process = Writer(database, megabytes)
    try:
        yield process
    finally:
        process.close()


async def build(directory: Path, *, megabytes: int, deltas: int) -> tuple[Path, Path]:
    """The archive's directory, and the database that the newest position must give."""
    database = directory / "chat.db"
    archive = directory / "archive"
    with writer(database, megabytes) as source:
        with patch("os.fsync"):
            await _follow(source, database, archive, directory / "state", deltas)
        scratch = directory / "fold"
        scratch.mkdir()
        truth = fold(database, scratch)
    shutil.rmtree(directory / "state")
    return archive, truth


async def _follow(source: Writer, database: Path, archive: Path, state: Path, deltas: int) -> None:
    store = DirectoryStore(archive)
    replica = await open_replica(
        NAME, state, sealing=SEALING, targets=(("main", "file:"),), clock=SystemClock(), log=_quiet
    )
    replicator = Replicator(replica, database, max_delay=0, max_bytes=4 << 20, poll_interval=1)
    shipper = Shipper(replica, "main", store)
    try:
        await _caught_up(replicator)
        await shipper.ship()
        for _ in range(deltas):
            await asyncio.to_thread(source.post)
            await _caught_up(replicator)
            await shipper.ship()
    finally:
        await replicator.close()
        await replica.close()


async def _caught_up(replicator: Replicator) -> None:
    if not await replicator.catch_up(patience=_PATIENCE):
        raise TimeoutError("the database could not be captured")


class Counting(Store):
    """A store that counts what a restore asks of it; a listing costs a request for each 1000 rows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.requests = 0

    @property
    @override
    def url(self) -> str:
        return self._store.url

    @override
    async def put(self, name: str, data: bytes) -> None:
        self.requests += 1
        await self._store.put(name, data)

    @override
    async def get(self, name: str) -> bytes:
        self.requests += 1
        return await self._store.get(name)

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        self.requests += 1
        count = 0
        async for info in self._store.objects(prefix, after=after):
            count += 1
            self.requests += count % _LIST_PAGE == 0
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        self.requests += 1
        return await self._store.dirs(prefix)

    @override
    async def delete(self, name: str) -> None:
        self.requests += 1
        await self._store.delete(name)

    @override
    async def close(self) -> None:
        await self._store.close()


async def count_requests(store: Store, to: Path) -> int:
    """How many requests a restore of the newest position makes."""
    counting = Counting(store)
    await restore(counting, to)
    to.unlink()
    return counting.requests


async def copy(source: Store, to: Store, *, at_once: int = 16) -> None:
    """Put every object of one store into another."""
    limit = asyncio.Semaphore(at_once)

    async def one(name: str) -> None:
        async with limit:
            await to.put(name, await source.get(name))

    names = [info.name async for info in source.objects("")]
    for at in range(0, len(names), 1000):
        async with asyncio.TaskGroup() as group:
            for name in names[at : at + 1000]:
                group.create_task(one(name))


def _quiet(_event: Event, /, **_fields: object) -> None:
    """Nobody reads along."""
