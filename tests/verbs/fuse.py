"""Points at which a process can end, counted: before and after every call that changes something.

- Points are calls of the store, statements of the state, writes, cuts and syncs of the shadow.
- A dead process does nothing: after the fuse has burnt with `Died`, every later point raises it again.
- What a power cut leaves of the shadow is what was synced last, in the worst case.
"""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import pytest
from typing_extensions import override

from syncd.errors import StateError, StoreUnavailable
from syncd.source import shadow
from syncd.store.base import ObjectInfo, Store

T = TypeVar("T")


class End(Enum):
    """How the process, or the call, ends."""

    DIE = auto()  # the process ends; its files stay as they are
    CUT = auto()  # the machine ends; of the shadow stays what was synced
    FAIL = auto()  # the call fails, the process lives
    CANCEL = auto()  # the task is cancelled while the call runs


class Died(BaseException):
    """The process is no more."""


class Fuse:
    """Burns at point `at`. `copy` is what was left of the directory `state` at death."""

    def __init__(self, state: Path, copy: Path, at: int, end: End) -> None:
        self.count = 0
        self.burnt = False
        self._state, self.copy = state, copy
        self._synced = copy.with_name("synced.db")
        self._at, self._end = at, end
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    @property
    def deadly(self) -> bool:
        return self._end in {End.DIE, End.CUT}

    def point(self, failure: Exception) -> None:
        if self.burnt and self.deadly:
            raise Died
        self.count += 1
        if self.count != self._at:
            return
        self.burnt = True
        match self._end:
            case End.FAIL:
                raise failure
            case End.CANCEL:
                assert self._task is not None
                self._loop.call_soon_threadsafe(self._task.cancel)
            case End.DIE | End.CUT:
                self._leave()
                raise Died

    def note_sync(self) -> None:
        shutil.copyfile(self._state / "shadow.db", self._synced)

    def _leave(self) -> None:
        shutil.copytree(self._state, self.copy, ignore=shutil.ignore_patterns("*-shm"))
        if self._end is End.CUT and (self.copy / "shadow.db").exists():
            self._synced.touch()
            shutil.copyfile(self._synced, self.copy / "shadow.db")

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put points around everything that the state and the shadow write."""
        full = OSError(errno.ENOSPC, "No space left on device")
        fuse = self
        execute = aiosqlite.Connection.execute
        write_all, sync, ftruncate = shadow._write_all, shadow.Shadow.sync, os.ftruncate

        async def executing(connection: aiosqlite.Connection, *args: Any) -> aiosqlite.Cursor:
            fuse.point(sqlite3.OperationalError("database or disk is full"))
            cursor = await execute(connection, *args)
            if fuse.deadly:  # a statement that succeeded cannot fail
                fuse.point(full)
            return cursor

        def writing(fd: int, data: bytes, offset: int) -> None:
            write_all(fd, data[: len(data) // 2], offset)  # torn
            fuse.point(full)
            write_all(fd, data, offset)

        def syncing(self: shadow.Shadow) -> None:
            fuse.point(StateError("No space left on device"))
            sync(self)
            fuse.note_sync()

        def cutting(fd: int, size: int) -> None:
            fuse.point(full)
            ftruncate(fd, size)

        patch.setattr(aiosqlite.Connection, "execute", executing)
        patch.setattr(shadow, "_write_all", writing)
        patch.setattr(shadow.Shadow, "sync", syncing)
        patch.setattr(os, "ftruncate", cutting)


class FusedStore(Store):
    """`inner`, with a point before and after each call."""

    def __init__(self, inner: Store, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

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
    def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        return self._inner.objects(prefix, after=after)

    @override
    async def dirs(self, prefix: str) -> list[str]:
        return await self._inner.dirs(prefix)

    @override
    async def delete(self, name: str) -> None:
        await self._call(lambda: self._inner.delete(name))

    @override
    async def close(self) -> None:
        await self._inner.close()

    async def _call(self, action: Callable[[], Awaitable[T]]) -> T:
        self._fuse.point(StoreUnavailable("it was told to fail"))
        result = await action()
        self._fuse.point(StoreUnavailable("it was told to lose its answer"))
        return result
