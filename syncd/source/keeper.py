"""When to hold the log against a reset, and when to let it go.

- Not at all while the application is slow enough to be followed without.
- Under pressure: hold it while it is short, so that nothing we have yet to read is overwritten; let it
  go when it is long, since the tail of a long log survives its reset until as many frames were written.
- Not while nothing is written: the application may be silent because it waits for us to let go, as a TRUNCATE
  checkpoint does.
- Never for long without a look: where our own work hangs (a disk that does not answer), the application's
  log must not grow for it. What is lost then, a comparison finds.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from syncd.log import Event, Log
from syncd.source.position import WalPosition
from syncd.source.walindex import Guard

_LONG_BYTES: Final = 6 << 20
_PRESSED_SECONDS: Final = 2.0
_AWAIT_SECONDS: Final = 0.2
_LEASE_SECONDS: Final = 2.0
# Frames a second, and at a look. SQLite's default is to reset the log at 1000 frames.
_HIGH_RATE: Final = 2500
_BURST_RATE: Final = 10_000
_BURST_FRAMES: Final = 200


class Keeper:
    """Decides over one guard; the guard changes with the log."""

    def __init__(self, monotonic: Callable[[], float], log: Log) -> None:
        self._monotonic = monotonic
        self._log = log
        self._guard: Guard | None = None
        self._pressed_until = 0.0
        self._await_until = 0.0
        self._release_at = 0
        self._looked_at = 0.0
        self._alive_at = 0.0
        self._told = False

    @property
    def settled(self) -> bool:
        """Whether the log cannot be reset, or is not in danger of it, while we work."""
        return self._monotonic() >= self._pressed_until or (self._guard is not None and self._guard.held)

    def use(self, guard: Guard | None) -> None:
        """The application's log is another one now."""
        if self._guard is not None:
            self._guard.release()
        self._guard = guard
        self._await_until = 0.0
        self._release_at = 0

    def press(self) -> None:
        """The application is about to outrun us."""
        self._pressed_until = self._monotonic() + _PRESSED_SECONDS

    def secure(self) -> None:
        """What was read is about to be worked on: under pressure the log must not be reset meanwhile."""
        self._alive_at = self._monotonic()
        if self._guard is not None and self._monotonic() < self._pressed_until and not self._guard.held:
            self._guard.acquire()
            self._release_at = 0  # where it is long already, let it go at the next look

    def expire(self) -> None:
        """Let a log go that was held since too long without a look. From any thread, while the work hangs."""
        guard = self._guard
        if guard is not None and guard.held and self._monotonic() - self._alive_at > _LEASE_SECONDS:
            with suppress(OSError):  # the log was closed at this moment, and the lock with it
                guard.release()

    def tend(self, before: WalPosition, now: WalPosition, page_size: int) -> None:
        """Called after every look at the log."""
        time = self._monotonic()
        elapsed, self._looked_at = time - self._looked_at, time
        self._alive_at = time
        guard = self._guard
        if guard is None:
            return
        if now.salts != before.salts:
            self._await_until = 0.0
            self._release_at = 0
        else:
            read = now.frame - before.frame
            if read > (_HIGH_RATE if guard.held else _BURST_RATE) * elapsed and read > _BURST_FRAMES:
                self.press()
        if guard.held and (now.salts, now.frame) == (before.salts, before.frame):
            self._pressed_until = time
        if time >= self._pressed_until:
            guard.release()
            if self._told:
                self._log(Event.SOURCE_RELEASED, frames=now.frame)
                self._told = False
            return
        long = max(2, _LONG_BYTES // page_size)
        self._release_at = self._release_at or long
        if guard.held and now.frame >= self._release_at:
            guard.release()
            self._await_until = time + _AWAIT_SECONDS
            self._release_at = now.frame + long
        elif (
            not guard.held and now.frame and time >= self._await_until and guard.acquire() and not self._told
        ):
            # Once for the whole time of pressure: at full speed it is let go and held again every 40 ms.
            self._log(Event.SOURCE_GUARDED, frames=now.frame)
            self._told = True
