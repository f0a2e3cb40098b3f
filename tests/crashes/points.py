"""Points at which a call can fail, be cancelled, or be the last one of its process.

- A point is a call of the store, a call of the file system below one directory, or a statement of syncd's own
  database; calls that change a store or commit have one after them, too.
- A dead process does nothing: after the fuse has burnt with `Died`, every later point raises it again.
- What a death leaves is copied at that instant; a write that it hits is torn in the middle.
- A failing fsync drops what was not yet synced, as the page cache does.
- A cancellation arrives while the call runs: a thread goes on only after the loop has turned a few times.
"""

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from typing_extensions import override

from syncd.errors import StoreUnavailable

_SHADOW: Final = "state/shadow.db"
_TURNS: Final = 30
_PATIENCE: Final = 1.0


class End(Enum):
    """How the call, or the process, ends."""

    FAIL = "fail"  # this call fails, nothing is done
    OUTAGE = "outage"  # the disk is full from here on, or the store does not answer any more
    CANCEL = "cancel"  # the task is cancelled while the call runs
    DIE = "die"  # the process ends here; its files stay as they are
    CUT = "cut"  # the power goes; of the shadow stays what was synced


DEATHS: Final = frozenset({End.DIE, End.CUT})


class Kind(Enum):
    """What a point belongs to."""

    STORE = "store"
    FILE = "file"
    STATE = "state"


class Died(BaseException):
    """The process is no more."""


class Interrupted(KeyboardInterrupt):
    """What a cancellation is to code without a loop."""


@dataclass(frozen=True, slots=True)
class Point:
    """One call. `writes`: it needs room; `done`: the call was made, its answer is to come."""

    kind: Kind
    what: str
    writes: bool = False
    done: bool = False

    @override
    def __str__(self) -> str:
        return self.what

    def ends(self) -> Iterator[End]:
        """What can happen here."""
        yield from (End.CANCEL, End.DIE, End.CUT)
        if not self.done or self.kind is Kind.STORE:
            yield End.FAIL
        if self.kind is Kind.STORE or (self.writes and not self.done):
            yield End.OUTAGE

    def failure(self) -> Exception:
        """What the caller sees of a failure."""
        match self.kind:
            case Kind.STORE:
                return StoreUnavailable(f"{self.what} was told to fail")
            case Kind.STATE:
                return sqlite3.OperationalError("database or disk is full")
            case Kind.FILE:
                number = errno.ENOSPC if self.writes else errno.EIO
                return OSError(number, os.strerror(number))


class Fuse:
    """Burns at point `at` of those below `directory`, or the next one where that end can be; 0 is never.

    With `what`, only points of that text are counted for that. `left` gets what a death leaves.

    `before` is the directory as it was at first, all of it durable. `interrupts`: there is no loop, a
    cancellation is an interrupt. An outage `lasts` for so many points.
    """

    def __init__(
        self,
        directory: Path,
        left: Path,
        *,
        before: Path,
        at: int = 0,
        end: End = End.FAIL,
        what: str = "",
        interrupts: bool = False,
        lasts: int | None = None,
    ) -> None:
        self.points: list[Point] = []
        self.burnt: Point | None = None
        self.wrong: list[str] = []
        self.task: asyncio.Task[None] | None = None
        self.left = left
        self._directory, self._before = str(directory), before
        self._prefix = f"{directory}/"
        self._at, self._end, self._what, self._interrupts = at, end, what, interrupts
        self._counted = 0
        self._lasts, self._since = lasts, 0
        self._synced: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self._quiet = threading.local()
        self._loop = asyncio.get_running_loop()

    def name(self, path: str) -> str | None:
        """The path from the directory on; None for what lies elsewhere, or is our own doing."""
        if getattr(self._quiet, "on", False):
            return None
        if path == self._directory:
            return "."
        return path.removeprefix(self._prefix) if path.startswith(self._prefix) else None

    def name_of(self, fd: int) -> str | None:
        """The same for a descriptor."""
        try:
            return self.name(str(Path(f"/proc/self/fd/{fd}").readlink()))
        except OSError:
            return None

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """What is done meanwhile by this thread has no points."""
        self._quiet.on = True
        try:
            yield
        finally:
            self._quiet.on = False

    def pass_point(
        self,
        kind: Kind,
        what: str,
        *,
        writes: bool = False,
        done: bool = False,
        tear: Callable[[], object] | None = None,
        drop: Callable[[], object] | None = None,
    ) -> None:
        """Count this point, and do there what is to be done.

        `tear` does a part of the call before a death, `drop` is what a failure does.
        """
        point = Point(kind, what, writes, done)
        with self._lock:
            if self.burnt is not None and self._end in DEATHS:
                raise Died
            self.points.append(point)
            counts = self._what in {"", what}
            self._counted += counts
            due = counts and 0 < self._at <= self._counted and self.burnt is None
            now = due and self._end in point.ends()
            if now:
                self.burnt, self._since = point, len(self.points)
                if self._end in DEATHS:
                    self._die(tear)
            lasting = self.burnt is not None and self._end is End.OUTAGE and not self._is_over()
        if now and self._end is End.CANCEL:
            self._cancel()
        elif (now and self._end is End.FAIL) or (lasting and self._suffers(point)):
            if drop is not None:
                drop()
            raise point.failure()

    def _is_over(self) -> bool:
        return self._lasts is not None and len(self.points) - self._since >= self._lasts

    def _suffers(self, point: Point) -> bool:
        assert self.burnt is not None
        if self.burnt.kind is Kind.STORE:
            return point.kind is Kind.STORE
        return point.kind is not Kind.STORE and point.writes and not point.done

    def _die(self, tear: Callable[[], object] | None) -> None:
        with self.quietly():
            if tear is not None:
                tear()
            shutil.copytree(self._directory, self.left, ignore=shutil.ignore_patterns("*-shm"))
            if self._end is End.CUT and (self.left / _SHADOW).exists():
                (self.left / _SHADOW).write_bytes(self._durable(_SHADOW))
        raise Died

    def _cancel(self) -> None:
        if self._interrupts:
            raise Interrupted
        assert self.task is not None
        if threading.current_thread() is threading.main_thread():
            self.task.cancel()
            return
        turned = threading.Event()

        def turn(left: int) -> None:
            if left:
                self._loop.call_soon(turn, left - 1)
            else:
                turned.set()

        self._loop.call_soon_threadsafe(self.task.cancel)
        self._loop.call_soon_threadsafe(turn, _TURNS)
        turned.wait(_PATIENCE)

    def note_sync(self, name: str) -> None:
        """What the file holds now is durable."""
        with self.quietly():
            path = Path(self._directory) / name
            if path.is_file():
                self._synced[name] = path.read_bytes()

    def drop_unsynced(self, name: str) -> None:
        """The file holds again what was synced last."""
        with self.quietly():
            path = Path(self._directory) / name
            if path.is_file():
                with path.open("r+b") as file:
                    file.write(self._durable(name))
                    file.truncate()

    def _durable(self, name: str) -> bytes:
        before = self._before / name
        return self._synced.get(name) or (before.read_bytes() if before.is_file() else b"")
