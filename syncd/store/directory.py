"""A directory as an object store: `file:///absolute/path`.

- An object appears under its name whole and durable, or not at all: written to a temporary file
  beside its place, fsynced, published by `link`, which never replaces, and every directory up to
  the root fsynced before `put` returns.
- Temporary files have a `~` in their name, which no object name may have: listings pass over them. Those
  that a crash left behind go after a day, with the first object that a process deletes.
- The root is created by the first `put`, its parent is not: a parent that is missing is a disk
  that is not mounted.
- Directories that a `delete` leaves empty are removed.
- Directories are 0700, files 0600. System calls run in threads, see `threads`; a cancelled
  call ends there.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from typing_extensions import override

from syncd.errors import ObjectExists, ObjectNotFound, StoreRefused, StoreUnavailable, StoreUnfit
from syncd.store.base import ObjectInfo, Store, check_directory, check_name, check_prefix, is_segment
from syncd.store.threads import Threads

_PUT_TRIES: Final = 8  # a delete elsewhere can remove the directory that we are about to use
_BATCH: Final = 1000
_MIN_RATE: Final = 32 * 1024  # bytes a second that the slowest usable file system takes

_REFUSED: Final = {
    errno.EACCES: "let syncd's user read and write there",
    errno.EPERM: "let syncd's user read and write there",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOTDIR: "something that is not a directory is in the way",
    errno.EISDIR: "a directory is in the way",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "the path has a loop of symbolic links",
}
_LITTER_NS: Final = 24 * 3_600_000_000_000
_NO_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})


class DirectoryStore(Store):
    """Keeps objects as files below `root`, an absolute path; lists `batch` rows per hop into a thread.

    `timeout` is in seconds, per call; a large put has longer.
    """

    def __init__(self, root: Path, *, batch: int = _BATCH, timeout: float = 60.0) -> None:
        if not root.is_absolute():
            raise ValueError(f"not an absolute path: {root}")
        self._root = root
        self._batch = batch
        self._swept = False
        self._url = root.as_uri()
        self._threads = Threads(self._url, timeout)

    @override
    def __repr__(self) -> str:
        return f"DirectoryStore({self._url})"

    @property
    @override
    def url(self) -> str:
        return self._url

    @override
    async def put(self, name: str, data: bytes) -> None:
        check_name(name)
        with self._errors(f"put {name}"):
            extra = len(data) / _MIN_RATE
            await self._threads.run(f"put {name}", partial(self._put, name, data), extra=extra)

    @override
    async def get(self, name: str) -> bytes:
        check_name(name)
        with self._errors(f"get {name}"):
            return await self._threads.run(f"get {name}", partial(self._get, name))

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        check_prefix(prefix)
        rows = self._walk(prefix[: prefix.rfind("/") + 1], prefix, after)
        while True:
            with self._errors(f"list {prefix}"):
                batch = await self._threads.run(f"list {prefix}", lambda: list(islice(rows, self._batch)))
            for row in batch:
                yield row
            if len(batch) < self._batch:
                return

    @override
    async def dirs(self, prefix: str) -> list[str]:
        check_directory(prefix)
        with self._errors(f"list {prefix}"):
            return await self._threads.run(f"list {prefix}", partial(self._dirs, prefix))

    @override
    async def delete(self, name: str) -> None:
        check_name(name)
        with self._errors(f"delete {name}"):
            await self._threads.run(f"delete {name}", partial(self._delete, name))

    @override
    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _put(self, name: str, data: bytes) -> None:
        path = self._root / name
        for _ in range(_PUT_TRIES):
            try:
                self._make_directory(path.parent)
                self._create(path, data)
            except FileNotFoundError:
                continue
            return
        raise StoreUnavailable(f"{self._url}: put {name}: its directory keeps vanishing")

    def _make_directory(self, directory: Path) -> None:
        """Create the root and what leads down to `directory`; fsync is `_sync_up`'s business."""
        try:
            self._root.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError as error:
            raise self._no_parent() from error
        except FileExistsError as error:
            raise StoreRefused(f"{self._url}: not a directory") from error
        above = self._root
        for part in directory.relative_to(self._root).parts:
            above /= part
            with contextlib.suppress(FileExistsError):
                above.mkdir(mode=0o700)
                _adopt(above)

    def _create(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f"~{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            _adopt(temporary)
            self._publish(temporary, path, data)
        finally:
            temporary.unlink(missing_ok=True)
        self._sync_up(path.parent)

    def _sweep(self, now_ns: int) -> None:
        """Once: remove what crashes left long ago, by the file system's own clock."""
        if self._swept:
            return
        self._swept = True
        for directory, _, names in os.walk(self._root):
            for left in [Path(directory, name) for name in names if name.startswith("~")]:
                with contextlib.suppress(OSError):
                    if left.lstat().st_mtime_ns < now_ns - _LITTER_NS:
                        left.unlink()
                        self._remove_empty(left)

    def _publish(self, temporary: Path, path: Path, data: bytes) -> None:
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            if path.is_dir():
                raise StoreRefused(f"{self._url}: {path.name} would be an object and a directory") from error
            if path.read_bytes() != data:
                name = path.relative_to(self._root).as_posix()
                raise ObjectExists(f"{self._url}: {name} was created before") from error
        except OSError as error:
            if error.errno in _NO_LINK:
                raise StoreUnfit(
                    f"{self._url}: this file system has no hard links, so create-once cannot be kept",
                    hint="use a directory on ext4, XFS, Btrfs, ZFS or NFS",
                ) from error
            raise

    def _sync_up(self, directory: Path) -> None:
        """Fsync every directory up to the root's parent.

        Always all of them: that a directory was there already does not say that whoever created it
        has fsynced its parent yet.
        """
        while directory.is_relative_to(self._root):
            _fsync_directory(directory)
            directory = directory.parent
        with contextlib.suppress(PermissionError):  # a parent we may pass but not read: not ours to sync
            _fsync_directory(directory)

    def _get(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            self._require_parent()
            raise ObjectNotFound(f"{self._url}: no object {name}") from error

    def _delete(self, name: str) -> None:
        path = self._root / name
        try:
            path.unlink()
            _fsync_directory(path.parent)
            self._sweep(path.parent.stat().st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._require_parent()
        self._remove_empty(path)

    def _remove_empty(self, path: Path) -> None:
        """Remove the directories that `path`, which is gone, leaves empty."""
        for directory in path.parents:
            if directory == self._root:
                break
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break  # not empty, or in use; an empty directory does no harm

    def _scan(self, directory: str) -> list[str]:
        """Names below `directory` (empty, or with its slash), sorted; directories with their slash."""
        try:
            with os.scandir(self._root / directory) as entries:
                return sorted(
                    f"{directory}{entry.name}{'/' if is_directory else ''}"
                    for entry in entries
                    if is_segment(entry.name)
                    and ((is_directory := entry.is_dir(follow_symlinks=False)) or entry.is_file())
                )
        except FileNotFoundError:
            self._require_parent()
            return []

    def _walk(self, directory: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Every directory sorts with its slash, so the whole walk is in bytewise order of full names."""
        for name in self._scan(directory):
            if name.endswith("/"):
                wanted = name.startswith(prefix) or prefix.startswith(name)
                if wanted and (name > after or after.startswith(name)):
                    yield from self._walk(name, prefix, after)
            elif name.startswith(prefix) and name > after:
                with contextlib.suppress(FileNotFoundError):
                    status = (self._root / name).stat()
                    yield ObjectInfo(name, status.st_size, status.st_mtime_ns // 1_000_000)

    def _dirs(self, prefix: str) -> list[str]:
        below = (name for name in self._scan(prefix) if name.endswith("/"))
        return sorted(name[len(prefix) : -1] for name in below if next(self._walk(name, name, ""), None))

    def _require_parent(self) -> None:
        """Tell an object that is missing from a disk that is missing."""
        if not self._root.parent.is_dir():
            raise self._no_parent()

    def _no_parent(self) -> StoreRefused:
        return StoreRefused(
            f"{self._url}: {self._root.parent} does not exist",
            hint="mount the disk, or create that directory",
        )

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self._url}: {what}: {error.strerror or type(error).__name__}"
            if error.errno in _REFUSED:
                raise StoreRefused(message, hint=_REFUSED[error.errno]) from error
            raise StoreUnavailable(message) from error


def _adopt(path: Path) -> None:
    """What root makes, in a restore say, belongs to its directory's owner, the daemon."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
