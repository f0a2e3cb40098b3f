"""Capture beside an application, without the daemon: pieces are applied to a shadow by the plainest rules."""

import time
from pathlib import Path

from syncd.log import Event
from syncd.source.capture import Capture
from syncd.source.pending import Piece
from syncd.source.position import Position, format_position, parse_position
from syncd.source.shadow import Shadow
from tests.support.fakes import FakeClock, Recorder
from tests.support.oracle import fold

_COARSE = 5  # CLOCK_REALTIME_COARSE of Linux, which Python does not name
LOOKS = 50_000  # a quiet moment comes within a tick of the clock, some milliseconds


class Rig:
    """`shadow` follows the database at `path`; `catch_up` gives the pieces that it took."""

    def __init__(self, path: Path, scratch: Path, *, max_bytes: int = 8 << 20) -> None:
        scratch.mkdir()
        self.path = path
        self.scratch = scratch
        self.max_bytes = max_bytes
        self.clock = FakeClock()
        self.log = Recorder()
        self.shadow = Shadow(scratch / "shadow.db")
        self.capture = self._capture(None)
        self.owing = False

    def restart(self, *, forget: bool = False) -> None:
        """Another process goes on from what was kept of the position."""
        text = "" if forget else format_position(self.capture.position)
        self.capture.close()
        self.log.lines.clear()
        self.capture = self._capture(parse_position(text))

    def catch_up(self) -> list[Piece]:
        pieces: list[Piece] = []
        busy = ""
        for _ in range(LOOKS):
            progress = self.capture.poll()
            busy = progress.busy
            if progress.full or (progress.boundary and (progress.dirty or self.owing)):
                pieces.append(self.take())
            elif progress.boundary and not busy:
                return pieces
        raise AssertionError(f"it did not come to rest: {busy}")

    def take(self) -> Piece:
        piece = self.capture.take()
        if piece.rebase:
            self.shadow.rebase(piece.page_size)
        count = piece.page_count if piece.boundary else max(self.shadow.page_count, piece.page_count)
        self.shadow.apply(piece.pages, count)
        self.owing = not piece.boundary
        return piece

    def check(self) -> list[Piece]:
        """Catch up; the shadow is then what SQLite makes of the database."""
        pieces = self.catch_up()
        assert self.shadow_bytes() == fold(self.path, self.scratch).read_bytes()
        return pieces

    def shadow_bytes(self) -> bytes:
        return self.shadow.read(1, self.shadow.page_count)

    def comparisons(self) -> list[object]:
        """Why file and shadow were compared since the last call."""
        reasons = [fields["reason"] for fields in self.log.of(Event.SOURCE_COMPARED)]
        self.log.lines.clear()
        return reasons

    def close(self) -> None:
        self.capture.close()
        self.shadow.close()

    def _capture(self, position: Position | None) -> Capture:
        return Capture(
            self.path,
            self.shadow,
            max_bytes=self.max_bytes,
            position=position,
            now_ms=self.clock.now_ms,
            monotonic=self.clock.monotonic,
            log=self.log,
        )


def let_tick_pass(path: Path) -> None:
    """Until the clock that stamps files is past the last write: at most some milliseconds."""
    stamp = path.stat().st_mtime_ns
    while time.clock_gettime_ns(_COARSE) <= stamp:
        pass
