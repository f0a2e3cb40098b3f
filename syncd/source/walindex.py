"""The wal-index (`-shm`): what is committed, who is connected, and the guard against a reset.

Read with pread, never mapped: a process that recovers after a crash truncates the file, and a mapping
would then die with SIGBUS. Layout: sqlite.org/walformat.html, section 2. All integers are in the
byte order of this machine, since the file never leaves it.

- The header is written twice; it counts only where both copies agree and its checksum holds.
- POSIX locks belong to the process: closing *any* descriptor of the file drops them all, so the file
  is opened once and its descriptor is passed around.
- Asking who holds a lock (F_GETLK) takes none.
"""

import fcntl
import os
import struct
import sys
from dataclasses import dataclass
from typing import Final

_HEADER = struct.Struct("=IIIBBHII8s8sII")
_READ_MARKS = struct.Struct("=5I")
_VERSION: Final = 3007000
_COPY_SIZE: Final = 48
_BACKFILL_OFFSET: Final = 96
_READ_MARKS_OFFSET: Final = 100
_READ_LOCK: Final = 123  # + i, the lock byte of read mark i
_ALIVE_LOCK: Final = 128  # every connection holds it shared ("DMS" in SQLite's source)
_UNUSED_MARK: Final = 0xFFFFFFFF
_FLOCK = struct.Struct("hhqqi")  # Linux struct flock: type, whence, start, length, pid
_SHARED_FIRST: Final = 0x40000002  # the byte range that readers of the database file lock
_SHARED_SIZE: Final = 510


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """One agreed copy of the wal-index header.

    `change` goes up by exactly one with every commit and starts anew only when the index is
    recovered. `page_count` and `page_size` are 0 before the first commit after a recovery.
    """

    change: int
    page_size: int
    max_frame: int
    page_count: int
    salts: bytes
    big_endian: bool


def _checksum(raw: bytes) -> tuple[int, int]:
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    s0 = s1 = 0
    for x0, x1 in zip(words[::2], words[1::2], strict=True):
        s0 = (s0 + x0 + s1) & 0xFFFFFFFF
        s1 = (s1 + x1 + s0) & 0xFFFFFFFF
    return s0, s1


def parse_index(raw: bytes) -> IndexHeader | None:
    """The header from the first 96 bytes, or None where it is not initialised or being written."""
    first, second = raw[:_COPY_SIZE], raw[_COPY_SIZE : 2 * _COPY_SIZE]
    if len(second) < _COPY_SIZE or first != second:
        return None
    (version, _, change, is_init, big_endian, size, max_frame, page_count, _, salts, c0, c1) = _HEADER.unpack(
        first
    )
    if version != _VERSION or not is_init or _checksum(first[:40]) != (c0, c1):
        return None
    return IndexHeader(
        change=change,
        page_size=(size & 0xFE00) | ((size & 1) << 16),
        max_frame=max_frame,
        page_count=page_count,
        salts=salts,
        big_endian=bool(big_endian),
    )


def read_index(fd: int) -> IndexHeader | None:
    """Read the header; tries again a few times while a writer is between its two copies."""
    for _ in range(16):
        header = parse_index(os.pread(fd, 2 * _COPY_SIZE, 0))
        if header is not None:
            return header
    return None


def glance(fd: int) -> tuple[int, bytes] | None:
    """The newest frame and the salts, unchecked: for a hint, at a tenth of `read_index`'s price.

    None while a writer is between the two copies.
    """
    raw = os.pread(fd, 2 * _COPY_SIZE, 0)
    if len(raw) < 2 * _COPY_SIZE or raw[:_COPY_SIZE] != raw[_COPY_SIZE:]:
        return None
    return int.from_bytes(raw[16:20], sys.byteorder), raw[32:40]


def is_backfilled(fd: int, max_frame: int) -> bool:
    """Whether checkpoints have copied every frame up to `max_frame` into the database."""
    raw = os.pread(fd, 4, _BACKFILL_OFFSET)
    return len(raw) == 4 and int.from_bytes(raw, sys.byteorder) >= max_frame


def _holder(fd: int, kind: int, start: int, length: int) -> int | None:
    """The pid of a process whose lock conflicts with one of `kind` on that range, if there is one."""
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    found, _, _, _, pid = _FLOCK.unpack(answer)
    return None if found == fcntl.F_UNLCK else pid


def connected_process(fd: int) -> int | None:
    """A process that is connected, which makes the wal-index an authority; None where nobody is.

    As long as it is the same one, the index was not recovered: recovery is for the first to connect.
    """
    return _holder(fd, fcntl.F_WRLCK, _ALIVE_LOCK, 1)


def is_being_written(fd: int) -> bool:
    """Whether a process holds the EXCLUSIVE lock of the database file `fd` (rollback-journal mode)."""
    return _holder(fd, fcntl.F_RDLCK, _SHARED_FIRST, _SHARED_SIZE) is not None


class Guard:
    """Keeps the WAL from being reset, with the shared lock that any reader takes.

    It locks a read mark that is in use: checkpoints then stop quietly at that mark. Locking an
    unused one would let every commit's automatic checkpoint run to its end, fsync included, and
    slow the application (measured: 837 instead of 13,000 transactions a second).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._slot: int | None = None

    @property
    def held(self) -> bool:
        """Whether the lock is ours."""
        return self._slot is not None

    def acquire(self) -> bool:
        """Try to take the lock; never waits. True where it is held afterwards."""
        if self._slot is not None:
            return True
        raw = os.pread(self._fd, _READ_MARKS.size, _READ_MARKS_OFFSET)
        if len(raw) < _READ_MARKS.size:
            return False
        marks = _READ_MARKS.unpack(raw)
        slots = sorted((i for i in range(1, 5) if marks[i] != _UNUSED_MARK), key=lambda i: -marks[i])
        for slot in slots:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _READ_LOCK + slot)
            except OSError:
                continue
            self._slot = slot
            return True
        return False

    def release(self) -> None:
        """Let go; nothing happens where the lock is not held."""
        slot, self._slot = self._slot, None  # first: another thread may let go at the same moment
        if slot is not None:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _READ_LOCK + slot)
