"""Following the log without a lock.

- `adopt` starts at the beginning of the log as it is now; `advance` continues from a position;
  `finish` reads the rest of a log that the application has unlinked.
- What was read counts only after the wal-index was read again and still names the same salts: a reset
  in between may have overwritten it.
- `Lost` means that frames between two positions cannot be proven to have been read.
"""

import os
from collections.abc import Callable, Generator, Iterator
from typing import Final

from syncd.log import Event, Log
from syncd.source.files import SourceFiles
from syncd.source.keeper import Keeper
from syncd.source.pending import Pending
from syncd.source.position import ClosedPosition, Position, QuietPosition, WalPosition
from syncd.source.wal import Checksum, Survey, WalFile, WalHeader, chain_checksum
from syncd.source.walindex import (
    Guard,
    IndexHeader,
    connected_process,
    glance,
    is_backfilled,
    is_being_written,
    read_index,
)

_SURVEY_FRAMES: Final = 1 << 14
_STAGED_BYTES: Final = 32 << 20  # what is read across a reset has to fit into memory
_PORTION_BYTES: Final = 1 << 20  # what a poll may exceed `max_bytes` by
_TRIES: Final = 16
_LITTLE_FRAMES: Final = 100
_MASK: Final = 0xFFFFFFFF


class Lost(Exception):
    """Frames may have been missed; says why. The answer is a comparison."""


class NotReady(Exception):
    """Nothing can be read at this moment; says why. The answer is to look again later."""


class Follower:
    """Reads committed frames into `pending`."""

    def __init__(
        self,
        files: SourceFiles,
        pending: Pending,
        keeper: Keeper,
        *,
        max_bytes: int,
        now_ms: Callable[[], int],
        log: Log,
    ) -> None:
        self._files = files
        self._pending = pending
        self._keeper = keeper
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._log = log
        self._wal: WalFile | None = None
        self._process: int | None = None
        self._trusted: int | None = None
        self._big_endian = False
        self._at_risk = b""

    @property
    def _indexed(self) -> bool:
        """Whether the wal-index is an authority: somebody is connected."""
        return self._process is not None

    def forget(self) -> None:
        """The open log is not the application's any more, or syncd stops."""
        self._keeper.use(None)
        self._wal = None

    def attach(self, page_size: int) -> bool:
        """Whether there is a log that counts. Raises NotReady while it is being recovered."""
        files = self._files
        self._process = connected_process(files.shm) if files.shm is not None else None
        if files.wal is None or not (self._indexed or files.has_log()):
            return False
        if self._wal is None or self._wal.fd != files.wal or self._wal.page_size != page_size:
            self._wal = WalFile(files.wal, page_size)
            self._keeper.use(Guard(files.shm) if files.shm is not None else None)
        if self._indexed:
            index = self._index()
            if index.page_size not in {0, page_size}:
                raise NotReady("the page size is changing")
            return True
        return self._wal.header() is not None

    def stirs(self, position: WalPosition, *, first: bool) -> bool:
        """Whether more than a little was committed since `position`, or the log is not what it was.

        A little is what cannot be lost soon: SQLite's default is to reset the log at 1000 frames. Where the
        `first` commit counts, nothing is little.
        """
        shm = self._files.shm
        if not self._indexed or shm is None or os.fstat(shm).st_nlink == 0:
            return True
        seen = glance(shm)
        if seen is None:
            return True
        frame, salts = seen
        return salts != position.salts or not 0 <= frame - position.frame <= (0 if first else _LITTLE_FRAMES)

    def adopt(self) -> Generator[None, None, WalPosition]:
        """Read the log from its start. Returns the position reached; the page count is set."""
        wal = self._log_file()
        if self._indexed:
            salts = self._index().salts
        else:
            header = wal.header()
            if header is None:
                raise Lost("the log was emptied")
            salts = header.salts
        self._pending.page_count = self._files.size() // wal.page_size
        return (yield from self.advance(WalPosition(self._files.inodes(), salts, 0, b"")))

    def advance(self, position: Position | None) -> Generator[None, None, WalPosition]:
        """Read what was committed after `position`. Returns the new one. Raises Lost, NotReady."""
        match position:
            case ClosedPosition() | QuietPosition():
                return (yield from self._reopen(position))
            case WalPosition():
                if position.inodes != self._files.inodes():
                    raise Lost("the log is another file")
                if self._indexed:
                    return (yield from self._by_index(position))
                return (yield from self._by_chain(position))
            case None:
                raise Lost("a log, and no position in it")

    def finish(self, position: WalPosition) -> Generator[None, None, ClosedPosition]:
        """Read the rest of an unlinked log. Its wal-index, unlinked too, still says what was committed."""
        # Across a reset only the commit counter could prove anything, and who was connected is gone.
        if self._index().salts != position.salts:
            raise Lost("the log was reset before its last connection closed")
        reached = yield from self._by_index(position)
        unlinked = self._files.unlinked_ns()
        shm = self._files.shm
        if (
            reached.salts != position.salts
            or unlinked is None
            or shm is None
            or not is_backfilled(shm, reached.frame)
        ):
            raise Lost("the log was taken away, and not by its last connection")
        return ClosedPosition(unlinked)

    def _reopen(self, before: ClosedPosition | QuietPosition) -> Generator[None, None, WalPosition]:
        """The first log after a time without one: it must hold every commit since it was created."""
        if not self._indexed:
            raise Lost("a log appeared, and nobody is connected")
        salts = self._index().salts
        start = WalPosition(self._files.inodes(), salts, 0, b"", change=0)
        reached = yield from self._by_index(start)
        # A connection that came and went unseen would have checkpointed into the database.
        unwritten = (
            self._files.is_still(before)
            if isinstance(before, QuietPosition)
            else self._files.unchanged_since(before.unlinked_ns)
        )
        if reached.salts != salts or not unwritten:
            raise Lost("the database was written since it had no log")
        return reached

    def _by_index(self, position: WalPosition) -> Generator[None, None, WalPosition]:
        for _ in range(_TRIES):
            index = self._index()
            if index.salts == position.salts:
                reached = yield from self._read_on(position, index)
            else:
                reached = self._read_across_reset(position, index)
            if reached is not None:
                self._big_endian = index.big_endian
                self._trusted = self._process
                self._keeper.tend(position, reached, self._log_file().page_size)
                return reached
        raise NotReady("the log is reset faster than it can be read")

    def _read_on(
        self, position: WalPosition, index: IndexHeader
    ) -> Generator[None, None, WalPosition | None]:
        """The same log: frames after our position, as the wal-index says. None after a reset."""
        wal = self._log_file()
        if index.max_frame < position.frame:
            raise Lost("the log is shorter than before")
        if position.frame and wal.frame_header(position.frame) != position.header:
            self._unless_reset(index, "the log was rewritten")
            return None
        commits = padding = 0
        merged = False
        for start in range(position.frame, index.max_frame, _SURVEY_FRAMES):
            survey = wal.survey(start, min(start + _SURVEY_FRAMES, index.max_frame), index.salts)
            if survey is None:
                self._unless_reset(index, "the log was cut off", merged=merged)
                return None
            for staged in self._batches(survey):
                if self._index().salts != index.salts:
                    self._unless_reset(index, "", merged=merged)
                    return None
                if merged and self._pending.size >= self._max_bytes:
                    yield
                self._pending.put(staged, self._now_ms())
                merged = True
            commits += survey.commits
            padding += survey.padding
            self._note_risk(survey.unproven, index.salts)
        header = wal.frame_header(index.max_frame) if index.max_frame else b""
        if self._index().salts != index.salts:
            self._unless_reset(index, "", merged=merged)
            return None
        self._prove(position, index, commits, padding)
        self._pending.finish(commits, index.page_count)
        return WalPosition(position.inodes, index.salts, index.max_frame, header, index.change)

    def _unless_reset(self, index: IndexHeader, reason: str, *, merged: bool = False) -> None:
        """A reset explains an odd log, and is read across, unless half of a stretch was taken already."""
        if self._index().salts == index.salts:
            raise Lost(reason)
        if merged:
            self._keeper.press()
            raise Lost("the log was reset while it was read")

    def _read_across_reset(self, position: WalPosition, index: IndexHeader) -> WalPosition | None:
        """The log was reset: the old chain's tail first, then the new log. None: look again."""
        wal = self._log_file()
        if position.change is None:
            raise Lost("the log was reset while syncd was not looking")
        if self._process != self._trusted:
            # The commit counter may have started anew, and could come out right by chance.
            raise Lost("the log was reset, and other processes are connected")
        staged, commits, page_count = self._old_tail(position)
        padding = 0
        header = b""
        if index.max_frame:
            survey = wal.survey(0, index.max_frame, index.salts)
            if survey is None:
                return None
            commits += survey.commits
            padding = survey.padding
            for batch in self._batches(survey):
                staged.update(batch)
                self._bound(staged)
            header = wal.frame_header(index.max_frame)
        if self._index().salts != index.salts:
            return None
        self._prove(position, index, commits, padding)
        if index.max_frame * 2 > position.frame:
            self._keeper.press()
        self._pending.put(staged, self._now_ms())
        self._pending.finish(commits, index.page_count or page_count)
        return WalPosition(position.inodes, index.salts, index.max_frame, header, index.change)

    def _old_tail(self, position: WalPosition) -> tuple[dict[int, bytes], int, int]:
        """Committed frames behind our position that the new log has not overwritten.

        Returns images, number of commits, page count after the last. Where the chain cannot be
        continued (frame 0, or zeroed checksums) nothing is returned, and the count will tell.
        """
        staged: dict[int, bytes] = {}
        commits = size = 0
        if position.header[8:16] != position.salts:
            return staged, commits, size
        wal = self._log_file()
        old = WalHeader(self._big_endian, wal.page_size, position.salts, (0, 0))
        uncommitted: dict[int, bytes] = {}
        for _, number, page_count, _, image in wal.chain(
            position.frame, 0, old, chain_checksum(position.header)
        ):
            uncommitted[number] = image
            if page_count:
                staged.update(uncommitted)
                uncommitted = {}
                commits += 1
                size = page_count
            self._bound(uncommitted)
            self._bound(staged)
        return staged, commits, size

    def _by_chain(self, position: WalPosition) -> Generator[None, None, WalPosition]:
        """Nobody is connected: what SQLite's recovery would accept counts."""
        wal = self._log_file()
        now, checksum = self._place_in_chain(position)
        # A process that has the database for itself keeps its wal-index in its own memory.
        lenient = is_being_written(self._files.database)
        end, page_count, header, commits, zeroed = position.frame, 0, position.header, 0, 0
        for frame, _, pages, frame_header, _ in wal.chain(position.frame, 0, now, checksum, lenient=lenient):
            zeroed += not any(frame_header[8:])
            if pages:
                end, page_count, header = frame, pages, frame_header
                commits += 1
        if wal.header() != now:  # else the end found may be one that a new log has cut short
            raise Lost("the log was reset while it was read")
        self._note_risk(zeroed, now.salts)
        reached = position.frame
        if end > reached:
            for frame, number, _, _, image in wal.chain(position.frame, end, now, checksum, lenient=lenient):
                if self._pending.size >= self._max_bytes:
                    yield
                self._pending.put({number: image}, self._now_ms())
                reached = frame
        if reached != end:
            raise Lost("the log was rewritten while it was read")
        self._pending.finish(commits, page_count)
        return WalPosition(position.inodes, now.salts, end, header)

    def _place_in_chain(self, position: WalPosition) -> tuple[WalHeader, Checksum]:
        """The log's header, and the checksum to go on with after `position`."""
        wal = self._log_file()
        now = wal.header()
        if now is None or now.salts != position.salts:
            raise Lost("the log was reset while nobody was connected")
        if not position.frame:
            return now, now.checksum
        header = wal.frame_header(position.frame)
        if header != position.header or header[8:16] != now.salts:
            raise Lost("the log was rewritten")
        return now, chain_checksum(header)

    def _prove(self, position: WalPosition, index: IndexHeader, commits: int, padding: int) -> None:
        """The commits read must be those that the wal-index counted."""
        if position.change is None:
            return
        advance = (index.change - position.change) & _MASK
        if not commits - padding <= advance <= commits:
            self._keeper.press()
            self._log(Event.FRAMES_LOST, counted=advance, read=commits)
            raise Lost(f"{advance} commits were counted, {commits} were read")

    def _batches(self, survey: Survey) -> Iterator[dict[int, bytes]]:
        """The last image of each page: at once where they fit into a piece, else in small portions."""
        wal = self._log_file()
        pages = sorted(survey.last.items())
        fits = len(pages) * wal.page_size <= min(self._max_bytes, _STAGED_BYTES)
        portion = max(1, len(pages) if fits else min(self._max_bytes, _PORTION_BYTES) // wal.page_size)
        for at in range(0, len(pages), portion):
            part = pages[at : at + portion]
            images = wal.images(frame for _, frame in part)
            yield {number: image for (number, _), image in zip(part, images, strict=True)}

    def _bound(self, staged: dict[int, bytes]) -> None:
        if len(staged) * self._log_file().page_size > _STAGED_BYTES:
            raise Lost("more was written around a reset than fits into memory")

    def _note_risk(self, frames: int, salts: bytes) -> None:
        """Committed frames without a checksum: a crash now would lose them (SQLite up to 3.49.1)."""
        if frames and self._at_risk != salts:
            self._at_risk = salts
            self._log(Event.SOURCE_AT_RISK, frames=frames)

    def _index(self) -> IndexHeader:
        shm = self._files.shm
        index = read_index(shm) if shm is not None else None
        if index is None:
            raise NotReady("the wal-index is being recovered")
        return index

    def _log_file(self) -> WalFile:
        if self._wal is None:
            raise NotReady("there is no log")
        return self._wal
