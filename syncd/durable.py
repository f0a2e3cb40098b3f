"""What a power cut leaves, and what a killed process does.

- An fsync of a file makes its bytes durable, not its name: that is in its directory, `sync_directory`.
- What is being made has a temporary name, and a lock for as long as its process lives. What has such a name,
  no lock, and was not touched for a minute, a killed process left: `abandoned` finds it.
- These functions raise OSError: only their callers know what it means.
"""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_NO_SYNC: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
_ABANDONED_SECONDS: Final = 60
_PARTIAL: Final = ".partial"
_RANDOM: Final = "[a-z0-9_]{8}"  # what tempfile puts between prefix and suffix


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: files that were made, renamed or removed there.

    Some file systems of networks have no such thing; there the names are as sure as they make them.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as e:
        if e.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory of mode 0700 and what is missing above it, durably."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing:
        with suppress(PermissionError):  # a parent that we may pass, but not read
            sync_directory(each.parent)


@contextmanager
def partial_file(to: Path) -> Iterator[tuple[int, Path]]:
    """A new file of mode 0600 beside `to`, open for writing; gone afterwards unless it was renamed.

    Those that killed processes left for the same `to` are removed.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=_PARTIAL, dir=to.parent)
    path = Path(name)
    try:
        lock(descriptor)
        for left in abandoned(path, prefix=f".{to.name}.", suffix=_PARTIAL):
            with suppress(OSError):
                left.unlink()
        yield descriptor, path
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()


@contextmanager
def temporary_directory(parent: Path, *, prefix: str) -> Iterator[Path]:
    """A new directory of mode 0700, gone afterwards. Those that killed processes left there are removed."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lock(descriptor)
            for left in abandoned(path, prefix=prefix):
                shutil.rmtree(left, ignore_errors=True)
            yield path
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def lock(descriptor: int) -> None:
    """Say that a process lives that uses this file or directory; where that can be said at all."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def abandoned(new: Path, *, prefix: str, suffix: str = "") -> list[Path]:
    """What is beside `new`, which was just made and says what time it is, and has no process any more."""
    oldest = new.stat().st_mtime - _ABANDONED_SECONDS
    ours = re.compile(f"{re.escape(prefix)}{_RANDOM}{re.escape(suffix)}")
    return [
        path for path in new.parent.iterdir() if ours.fullmatch(path.name) and _is_abandoned(path, oldest)
    ]


def _is_abandoned(path: Path, oldest: float) -> bool:
    try:
        status = path.lstat()
        if status.st_mtime > oldest or status.st_uid != os.geteuid():
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
