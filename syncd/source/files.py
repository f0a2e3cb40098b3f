"""The application's files: opened O_RDONLY, never through SQLite, never created, never locked.

- A descriptor is compared with its path at every look: applications replace and unlink files.
- `-wal` and `-shm` belong together: they are opened as a pair and given up as a pair.
- SQLite follows a symbolic link, and keeps log and journal beside the file that it leads to.
"""

import os
import stat
import time
from pathlib import Path
from typing import Final

from syncd.errors import SourceError
from syncd.source.header import HEADER_SIZE, Header, parse_header
from syncd.source.position import QuietPosition
from syncd.source.wal import WAL_HEADER_SIZE
from syncd.source.walindex import is_being_written

_COARSE: Final = time.CLOCK_REALTIME_COARSE if hasattr(time, "CLOCK_REALTIME_COARSE") else 5
_LONG_HELD_NS: Final = 1_000_000_000


class SourceFiles:
    """Descriptors of a database, its log and its wal-index.

    `wal` and `shm` are None where the file is missing. Raises SourceError where a file exists and
    cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = -1
        self.wal: int | None = None
        self.shm: int | None = None
        self._real = path

    def close(self) -> None:
        """Give up all descriptors, and with them any guard."""
        self.close_session()
        if self.database >= 0:
            os.close(self.database)
            self.database = -1

    def close_session(self) -> None:
        """Give up the log and its index."""
        for fd in (self.wal, self.shm):
            if fd is not None:
                os.close(fd)
        self.wal = self.shm = None

    def database_changed(self) -> bool:
        """Whether the path leads to another file than the open one, or none is open yet."""
        try:
            found = self.path.stat()
        except FileNotFoundError as e:
            raise _missing(self.path) from e
        except OSError as e:
            raise _unreadable(self.path, e) from e
        if not stat.S_ISREG(found.st_mode):  # opening a FIFO would wait for its writer
            raise SourceError(f"{self.path} is not a file", hint="name the database file itself")
        return self.database < 0 or not _same(self.database, found)

    def open_database(self) -> None:
        """Give up everything and open what lies at the path now. Release any guard before."""
        self.close()
        self._real = Path(os.path.realpath(self.path))
        fd = _open(self._real)
        if fd is None:
            raise _missing(self.path)
        self.database = fd

    def session_changed(self) -> bool:
        """Whether `-wal` and `-shm` at their paths are other files than the open ones."""
        return any(not _leads_to(path, fd) for path, fd in self._pairs())

    def open_session(self) -> bool:
        """Open `-wal` and `-shm` where they exist. False where they changed while being opened."""
        self.close_session()
        self.wal = _open(self._beside("wal"))
        self.shm = _open(self._beside("shm"))
        if self.session_changed():
            self.close_session()
            return False
        return True

    def header(self) -> Header:
        """The database's header as it is in the file."""
        return parse_header(os.pread(self.database, HEADER_SIZE, 0), self.path)

    def size(self) -> int:
        """Size of the database file in bytes."""
        return os.fstat(self.database).st_size

    def inodes(self) -> tuple[int, int]:
        """Of the database and of its open log (0 where there is none)."""
        return os.fstat(self.database).st_ino, os.fstat(self.wal).st_ino if self.wal is not None else 0

    def unlinked_ns(self) -> int | None:
        """When the open log was unlinked, by the clock that stamps files; None where it was not."""
        if self.wal is None:
            return None
        found = os.fstat(self.wal)
        return found.st_ctime_ns if found.st_nlink == 0 else None

    def unchanged_since(self, moment_ns: int) -> bool:
        """Whether the database file was last written before that moment."""
        found = os.fstat(self.database)
        return max(found.st_mtime_ns, found.st_ctime_ns) < moment_ns

    def is_still(self, position: QuietPosition) -> bool:
        """Whether the database file is as it was found in that quiet moment."""
        found = os.fstat(self.database)
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) == (
            position.inode,
            position.size,
            position.mtime_ns,
            position.ctime_ns,
        )

    def has_log(self) -> bool:
        """Whether there is a log with at least a header."""
        return self.wal is not None and os.fstat(self.wal).st_size > WAL_HEADER_SIZE

    def quiet(self) -> QuietPosition | None:
        """What identifies the file now, or None where a writer may be at work this moment.

        Quiet means: no hot journal, no EXCLUSIVE lock, and the last write is older than the tick of
        the clock that stamps files, so that any later write must show in the times. Two equal answers
        with a read between them mean that the read saw one committed state.
        """
        if _is_hot(self._beside("journal")):
            return None
        before = os.fstat(self.database)
        tick = time.clock_gettime_ns(_COARSE)
        age = tick - max(before.st_mtime_ns, before.st_ctime_ns)
        # A time in the future is a clock that was set back; it cannot be waited for.
        if 0 >= age > -_LONG_HELD_NS:
            return None
        # With locking_mode=EXCLUSIVE the lock is held for good: then a second without a write will do.
        if is_being_written(self.database) and 0 <= age < _LONG_HELD_NS:
            return None
        header = self.header()
        return QuietPosition(
            inode=before.st_ino,
            size=before.st_size,
            mtime_ns=before.st_mtime_ns,
            ctime_ns=before.st_ctime_ns,
            change_counter=header.change_counter,
        )

    def _pairs(self) -> list[tuple[Path, int | None]]:
        return [(self._beside("wal"), self.wal), (self._beside("shm"), self.shm)]

    def _beside(self, suffix: str) -> Path:
        return Path(f"{self._real}-{suffix}")


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _unreadable(path, e) from e


def _missing(path: Path) -> SourceError:
    return SourceError(f"{path} does not exist", hint="it is captured as soon as the application creates it")


def _unreadable(path: Path, e: OSError) -> SourceError:
    return SourceError(
        f"{path} cannot be read: {e.strerror}",
        hint=f"give syncd's user read permission, for example: setfacl -m u:syncd:r {path}",
    )


def _same(fd: int, found: os.stat_result) -> bool:
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino)


def _leads_to(path: Path, fd: int | None) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return fd is None
    except OSError as e:
        raise _unreadable(path, e) from e
    return fd is not None and _same(fd, found)


def _is_hot(journal: Path) -> bool:
    """Whether a rollback journal is in use: it exists and its header was not zeroed or cut off."""
    fd = _open(journal)
    if fd is None:
        return False
    try:
        return os.pread(fd, 1, 0) not in {b"", b"\0"}
    finally:
        os.close(fd)
