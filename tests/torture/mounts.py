"""A small file system of its own at a directory, whose size can change at any moment."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

_TRIES: Final = 50


class Mount:
    """A tmpfs at `path`; `real` is False where this process may not mount, and then nothing is limited."""

    def __init__(self, path: Path, size: int, *, real: bool) -> None:
        self.path = path
        self.real = real
        self._size = size

    @classmethod
    @contextlib.contextmanager
    def over(cls, path: Path, size: int) -> Iterator[Self]:
        """Mounted while this lasts; `size` in bytes."""
        real = os.geteuid() == 0 and not _run(
            "mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", path
        )
        mount = cls(path, size, real=real)
        try:
            yield mount
        finally:
            if real:
                _run("umount", "-l", path)

    def fill(self, room: int) -> None:
        """Only `room` bytes more fit in, or what is written meanwhile. It must not be empty."""
        for _ in range(_TRIES):
            found = os.statvfs(self.path)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            if self._resize(used + room):
                return
        raise OSError(f"the file system at {self.path} cannot be made smaller")

    def widen(self) -> None:
        """As large as it was in the beginning."""
        self._resize(self._size)

    def write_protect(self, *, protected: bool) -> bool:
        """Remount; False where a file is open for writing there."""
        return not _run("mount", "-o", "remount,ro" if protected else "remount,rw", self.path)

    def _resize(self, size: int) -> bool:
        return not _run("mount", "-o", f"remount,size={size}", self.path)


def _run(*command: str | Path) -> int:
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode
