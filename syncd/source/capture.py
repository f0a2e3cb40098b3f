"""Capture: from the application's files to pieces of changed pages. Synchronous; run it in a thread.

What it may rely on (DESIGN.md, "Capture"):

- While some process is connected, the wal-index says what is committed, and `change` in it goes up by
  exactly one with every commit: commits read since the last position must equal its advance.
- After a reset the frames behind our position are still in the file until the new log grows past
  them; the chain, continued with the old salts, proves them.
- Where nobody is connected, a left-over log counts by its chain, as SQLite's recovery will read it.
- Without a log the file itself counts, read in a quiet moment (see SourceFiles.quiet).
- Whatever is odd ends in one procedure, `_compare`: follow the log from its start, compare the file
  with the shadow as it lies, skip every page that the log had. A page that a checkpoint touched
  meanwhile is in the log, so the result is exact at the last commit applied.

No lock is taken but the guard, and that only when the application outruns us (see Follower).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from syncd.errors import SourceError
from syncd.log import Event, Log
from syncd.source.files import SourceFiles
from syncd.source.follow import Follower, Lost, NotReady
from syncd.source.keeper import Keeper
from syncd.source.pending import Pending, Piece
from syncd.source.position import ClosedPosition, Position, QuietPosition, WalPosition
from syncd.source.shadow import Shadow, read_padded
from syncd.source.walindex import connected_process

_COMPARE_BYTES: Final = 1 << 20
_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """What a poll found.

    `boundary`: all that was taken and is pending adds up to a committed state. `full`: take a piece
    now. `settled`: there is time to work on a piece, the log cannot run away meanwhile. `busy`: why
    nothing could be read just now, or empty.
    """

    dirty: bool
    boundary: bool
    full: bool
    settled: bool
    first_ms: int
    busy: str = ""


class Capture:
    """One database, from its files to pieces.

    Args:
        path: the application's database.
        shadow: everything taken so far must have been applied to it before the next `poll`.
        max_bytes: page images held at most, in bytes; a poll may exceed it by 1 MiB.
        position: where an earlier process stood, None where that is unknown: then the first poll
            compares.
        now_ms: wall clock.
        monotonic: seconds.
        log: for events.
    """

    def __init__(
        self,
        path: Path,
        shadow: Shadow,
        *,
        max_bytes: int,
        position: Position | None,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        log: Log,
    ) -> None:
        self._shadow = shadow
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._log = log
        self._files = SourceFiles(path)
        self._pending = Pending(page_size=shadow.page_size, page_count=shadow.page_count)
        self._keeper = Keeper(monotonic, log)
        self._follower = Follower(
            self._files, self._pending, self._keeper, max_bytes=max_bytes, now_ms=now_ms, log=log
        )
        self._position = position
        self._boundary = position is not None
        self._steps: Generator[None, None, None] | None = None
        self._reason = "first look" if position is None else ""

    def expire(self) -> None:
        """See Keeper.expire. The only call that may come from another thread."""
        self._keeper.expire()

    def close(self) -> None:
        """Let go of the files."""
        self._follower.forget()
        self._files.close()

    @property
    def position(self) -> Position | None:
        """Where everything taken and pending ends; None where that is not a boundary."""
        return self._position if self._at_boundary else None

    @property
    def is_looking(self) -> bool:
        """Whether the next poll goes on with what an earlier one began."""
        return self._steps is not None

    def poll(self) -> Progress:
        """Look at the files and read what was committed. Raises SourceError."""
        busy = ""
        full = False
        try:
            if self._steps is None:
                self._steps = self._run()
            for _ in self._steps:
                full = True
                break
            else:
                self._steps = None
        except NotReady as e:
            self._steps = None
            busy = str(e)
        except SourceError:
            self._steps = None
            raise
        except OSError as e:  # a failing disk, a stale network file
            self._steps = None
            raise SourceError(f"{self._files.path} cannot be read: {e.strerror}") from e
        pending = self._pending
        # A comparison that found nothing still owes a boundary where pieces went out before it.
        return Progress(
            dirty=bool(pending.pages) or pending.rebase or pending.page_count != self._shadow.page_count,
            boundary=self._at_boundary,
            full=full or pending.size >= self._max_bytes,
            settled=self._keeper.settled,
            first_ms=pending.first_ms,
            busy=busy,
        )

    def stirs(self, *, first: bool = False) -> bool:
        """Whether the next poll should not wait; where the `first` commit counts, after any.

        Between polls only; costs a small read.
        """
        try:
            position = self._position
            return not isinstance(position, WalPosition) or self._follower.stirs(position, first=first)
        except OSError:
            return True  # the poll will tell

    def take(self) -> Piece:
        """What is pending, as a piece; see Progress for whether it ends at a boundary."""
        self._keeper.secure()
        return self._pending.take(boundary=self._at_boundary, position=self.position, now_ms=self._now_ms())

    @property
    def _at_boundary(self) -> bool:
        return self._boundary and self._steps is None and not self._pending.unfinished

    def _run(self) -> Generator[None, None, None]:
        files = self._files
        known = files.database >= 0
        if files.database_changed():
            self._follower.forget()
            files.open_database()
            if known:
                self._log(Event.SOURCE_REPLACED, path=str(files.path))
                self._lose("the file was replaced")
            self._log(Event.SOURCE_OPENED, path=str(files.path), size=files.size())
        header = files.header()
        if header.page_size != self._pending.page_size:
            self._pending.restart(header.page_size)
            self._lose("the page size is new")
        if files.session_changed():
            yield from self._end_session()
            self._follower.forget()
            if not files.open_session():
                raise NotReady("the log is being replaced")
        if header.wal and self._follower.attach(header.page_size):
            yield from self._follow_log()
        else:
            yield from self._read_quiet()

    def _end_session(self) -> Generator[None, None, None]:
        """The application closed its last connection: what it wrote last is behind our descriptors."""
        if self._files.wal is None or not isinstance(self._position, WalPosition):
            return
        try:
            self._position = yield from self._follower.finish(self._position)
        except (Lost, NotReady) as e:
            self._lose(str(e))

    def _follow_log(self) -> Generator[None, None, None]:
        try:
            self._position = yield from self._follower.advance(self._position)
        except Lost as lost:
            yield from self._compare_log(lost)

    def _compare_log(self, lost: Lost) -> Generator[None, None, None]:
        """Compare file and shadow while following the log, until the two meet."""
        for _ in range(_ATTEMPTS):
            self._lose(str(lost))
            self._pending.begin_scan()
            try:
                position = yield from self._follower.adopt()
                first = 1
                while first <= self._pending.page_count:
                    first = self._compare(first, self._pending.page_count)
                    # The file may already hold what was committed after our last look at the log:
                    # only following it again, after the read, makes the result exact.
                    position = yield from self._follower.advance(position)
                    if self._pending.size >= self._max_bytes:
                        yield
            except Lost as again:
                self._keeper.press()
                lost = again
                continue
            if self._files.session_changed():
                # The file may hold what was committed since, of which our log knows nothing.
                raise NotReady("the log was taken away during the comparison")
            self._pending.end_scan()
            self._found(position)
            return
        raise NotReady("the application resets its log faster than it can be read")

    def _read_quiet(self) -> Generator[None, None, None]:
        """Compare the file itself with the shadow, between two looks that find it unchanged."""
        now = self._files.quiet()
        if now is None:
            raise NotReady("a transaction is being written")
        if self._boundary and (self._position == now or self._was_closed(now)):
            self._position = now
            return
        self._pending.end_scan()
        self._lose(self._reason)
        self._pending.page_count = total = now.size // self._pending.page_size
        first = 1
        while first <= total:
            first = self._compare(first, total)
            if self._pending.size >= self._max_bytes:
                if self._files.quiet() != now:
                    raise NotReady("a transaction was written meanwhile")
                yield
        if self._files.quiet() != now or (self._files.has_log() and self._log_counts()):
            raise NotReady("a transaction was written meanwhile")
        self._found(now)

    def _was_closed(self, now: QuietPosition) -> bool:
        """Whether the file is as the last connection left it, all of whose log we have read."""
        return (
            isinstance(self._position, ClosedPosition)
            and self._files.unchanged_since(self._position.unlinked_ns)
            and now.size == self._pending.page_count * self._pending.page_size
        )

    def _log_counts(self) -> bool:
        shm = self._files.shm
        return shm is not None and connected_process(shm) is not None

    def _compare(self, first: int, total: int) -> int:
        """Compare about 1 MiB from page `first` on; returns the page to go on with."""
        pending, shadow = self._pending, self._shadow
        size = pending.page_size
        count = min(max(1, _COMPARE_BYTES // size), total - first + 1)
        block = read_padded(self._files.database, count * size, (first - 1) * size)
        shared = 0 if pending.rebase else max(0, min(count, shadow.page_count - first + 1))
        differs = np.ones(count, dtype=bool)
        if shared:
            mine = shadow.read(first, shared)
            if mine == block[: shared * size]:
                differs[:shared] = False
            else:
                pages = np.frombuffer(block, np.uint64, shared * size // 8).reshape(shared, -1)
                differs[:shared] = (pages != np.frombuffer(mine, np.uint64).reshape(shared, -1)).any(axis=1)
        now_ms = self._now_ms()
        for i in range(count) if pending.pages else np.flatnonzero(differs).tolist():
            number = first + i
            if not pending.is_touched(number) and (differs[i] or number in pending.pages):
                pending.put_compared(number, block[i * size : (i + 1) * size], now_ms)
        return first + count

    def _lose(self, reason: str) -> None:
        """Continuity is gone: nothing is a boundary until a comparison is complete."""
        self._reason = reason
        self._boundary = False
        self._position = None

    def _found(self, position: Position) -> None:
        """A comparison is complete; the shadow and what is pending are the database at `position`."""
        if self._reason or isinstance(position, WalPosition):
            self._log(
                Event.SOURCE_COMPARED,
                reason=self._reason,
                pages=self._pending.page_count,
                page_size=self._pending.page_size,
            )
        self._reason = ""
        self._pending.unfinished = False
        self._position = position
        self._boundary = True
