"""Puts the points of a fuse around everything through which syncd touches files and its own database.

- The functions of `os` that read or change, wherever they are called from: Path and tempfile use them, too.
- Files that Python buffers are given a raw layer that uses these functions.
- Statements of aiosqlite. What SQLite itself does with files has no points here; see tests.crashes.power.
"""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import aiosqlite
import pytest
from typing_extensions import override

from tests.crashes.points import Fuse, Kind

# For each function of os that takes a path: whether it needs room on the disk.
_BY_PATH: Final = {
    "replace": True,
    "rename": True,
    "link": True,
    "mkdir": True,
    "unlink": False,
    "rmdir": False,
    "scandir": False,
}
# The same for those that take a descriptor.
_BY_FD: Final = {"read": False, "pread": False, "ftruncate": False, "fchmod": False}
_STATEMENTS: Final = ("execute", "execute_fetchall", "executescript")
_READING: Final = ("SELECT", "PRAGMA")
_TEMPORARY: Final = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC


@contextmanager
def installed(fuse: Fuse) -> Iterator[None]:
    """Every call meanwhile passes the fuse."""
    with pytest.MonkeyPatch.context() as patch:
        for name, writes in _BY_PATH.items():
            patch.setattr(os, name, _by_path(fuse, name, getattr(os, name), writes=writes))
        for name, writes in _BY_FD.items():
            patch.setattr(os, name, _by_fd(fuse, name, getattr(os, name), writes=writes))
        patch.setattr(os, "open", _opening(fuse, os.open))
        patch.setattr(os, "write", _writing(fuse, "write", os.write))
        patch.setattr(os, "pwrite", _writing(fuse, "pwrite", os.pwrite))
        patch.setattr(os, "fsync", _syncing(fuse, os.fsync))
        patch.setattr(os, "fdopen", _fdopening(fuse, os.fdopen))
        patch.setattr(tempfile, "TemporaryFile", _temporary(fuse, tempfile.TemporaryFile))
        patch.setattr(Path, "open", _path_opening(fuse, Path.open))
        for name in _STATEMENTS:
            patch.setattr(aiosqlite.Connection, name, _stating(fuse, getattr(aiosqlite.Connection, name)))
        yield


def _by_path(fuse: Fuse, call: str, function: Callable[..., Any], *, writes: bool) -> Callable[..., Any]:
    def called(path: Any, *args: Any, **kwargs: Any) -> Any:
        name = _name(fuse, path, kwargs.get("dir_fd"))
        if name is not None:
            fuse.pass_point(Kind.FILE, f"{call} {name}", writes=writes)
        return function(path, *args, **kwargs)

    return called


def _name(fuse: Fuse, path: Any, dir_fd: int | None) -> str | None:
    if isinstance(path, int):
        return fuse.name_of(path)
    text = os.fsdecode(path)
    if dir_fd is not None:
        above = fuse.name_of(dir_fd)
        return None if above is None else f"{above}/{text}"
    return fuse.name(text)


def _by_fd(fuse: Fuse, call: str, function: Callable[..., Any], *, writes: bool) -> Callable[..., Any]:
    def called(fd: int, *args: Any) -> Any:
        name = fuse.name_of(fd)
        if name is not None:
            fuse.pass_point(Kind.FILE, f"{call} {name}", writes=writes)
            _still(fuse, fd, name)
        return function(fd, *args)

    return called


def _still(fuse: Fuse, fd: int, name: str) -> None:
    """A cancellation must not close a file under the thread that uses it."""
    now = fuse.name_of(fd)
    if now is None or now.removesuffix(" (deleted)") != name.removesuffix(" (deleted)"):
        fuse.wrong.append(f"{name} was closed under a call that used it")


def _opening(fuse: Fuse, function: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = _name(fuse, path, dir_fd)
        if name is not None:
            fuse.pass_point(Kind.FILE, f"open {name}", writes=_creates(flags))
        return function(path, flags, mode, dir_fd=dir_fd)

    return opened


def _creates(flags: int) -> bool:
    return bool(flags & os.O_CREAT) or flags & os.O_TMPFILE == os.O_TMPFILE


def _writing(fuse: Fuse, call: str, function: Callable[..., int]) -> Callable[..., int]:
    def written(fd: int, data: Any, *args: int) -> int:
        name = fuse.name_of(fd)
        if name is not None:
            half = memoryview(data)[: len(data) // 2]
            fuse.pass_point(Kind.FILE, f"{call} {name}", writes=True, tear=lambda: function(fd, half, *args))
            _still(fuse, fd, name)
        return function(fd, data, *args)

    return written


def _syncing(fuse: Fuse, function: Callable[[int], None]) -> Callable[[int], None]:
    def synced(fd: int) -> None:
        name = fuse.name_of(fd)
        if name is None:
            return function(fd)
        fuse.pass_point(Kind.FILE, f"fsync {name}", drop=lambda: fuse.drop_unsynced(name))
        _still(fuse, fd, name)
        return fuse.note_sync(name)

    return synced


class _Raw(io.RawIOBase):
    """A file that is read and written by functions of `os`, so that these may be replaced."""

    def __init__(self, fd: int, mode: str, *, closefd: bool) -> None:
        self._fd, self._mode, self._closefd = fd, mode, closefd

    @override
    def fileno(self) -> int:
        return self._fd

    @override
    def readable(self) -> bool:
        return "r" in self._mode or "+" in self._mode

    @override
    def writable(self) -> bool:
        return "r" not in self._mode or "+" in self._mode

    @override
    def seekable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        data = os.read(self._fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @override
    def write(self, data: Any) -> int:
        return os.write(self._fd, data)

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._fd, offset, whence)

    @override
    def truncate(self, size: int | None = None) -> int:
        size = os.lseek(self._fd, 0, os.SEEK_CUR) if size is None else size
        os.ftruncate(self._fd, size)
        return size

    @override
    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._closefd:
                os.close(self._fd)


def _file(fd: int, mode: str, *, closefd: bool = True, **text: Any) -> IO[Any]:
    raw = _Raw(fd, mode, closefd=closefd)
    if "+" in mode:
        buffered: Any = io.BufferedRandom(raw)
    else:
        buffered = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
    file: IO[Any] = buffered if "b" in mode else io.TextIOWrapper(buffered, **text)
    return file


def _fdopening(fuse: Fuse, function: Callable[..., IO[Any]]) -> Callable[..., IO[Any]]:
    def opened(fd: int, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        if fuse.name_of(fd) is None:
            return function(fd, mode, *args, **kwargs)
        return _file(fd, mode, **kwargs)

    return opened


def _temporary(fuse: Fuse, function: Callable[..., IO[Any]]) -> Callable[..., IO[Any]]:
    def made(*args: Any, **kwargs: Any) -> IO[Any]:
        directory = os.fspath(kwargs.get("dir") or tempfile.gettempdir())
        if fuse.name(directory) is None:
            return function(*args, **kwargs)
        return _file(os.open(directory, _TEMPORARY, 0o600), "w+b")

    return made


def _path_opening(fuse: Fuse, function: Callable[..., IO[Any]]) -> Callable[..., IO[Any]]:
    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        if fuse.name(str(path)) is None or "b" not in mode:
            return function(path, mode, *args, **kwargs)
        access = os.O_RDWR if "+" in mode else os.O_RDONLY if "r" in mode else os.O_WRONLY
        create = 0 if "r" in mode else os.O_CREAT | (os.O_EXCL if "x" in mode else os.O_TRUNC)
        return _file(os.open(path, access | create | os.O_CLOEXEC, 0o666), mode)

    return opened


def _stating(fuse: Fuse, function: Callable[..., Any]) -> Callable[..., Any]:
    async def executed(connection: aiosqlite.Connection, statement: str, *args: Any) -> Any:
        what = " ".join(statement.split()[:3])
        writes = not statement.startswith(_READING)
        fuse.pass_point(Kind.STATE, what, writes=writes)
        result = await function(connection, statement, *args)
        if statement.startswith("COMMIT"):
            fuse.pass_point(Kind.STATE, what, writes=True, done=True)
        return result

    return executed
