"""When the log is held against a reset."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from syncd.log import Event
from syncd.source.keeper import _LONG_BYTES, Keeper
from syncd.source.position import WalPosition
from syncd.source.walindex import Guard
from tests.support.fakes import FakeClock, Recorder

LONG = _LONG_BYTES // 4096


@dataclass
class FakeGuard:
    held: bool = False
    free: bool = True

    def acquire(self) -> bool:
        self.held = self.held or self.free
        return self.held

    def release(self) -> None:
        self.held = False


@dataclass
class Scene:
    clock: FakeClock
    log: Recorder
    keeper: Keeper
    guard: FakeGuard
    at: WalPosition

    def look(self, frame: int, *, salts: bytes = b"salts", seconds: float = 1.0) -> bool:
        """A look at the log finds it that long; whether it is held afterwards."""
        self.clock.advance(seconds)
        before, self.at = self.at, WalPosition((1, 1), salts, frame, b"")
        self.keeper.tend(before, self.at, 4096)
        return self.guard.held


@pytest.fixture
def scene() -> Scene:
    clock, log, guard = FakeClock(), Recorder(), FakeGuard()
    keeper = Keeper(clock.monotonic, log)
    keeper.use(cast("Guard", cast("Any", guard)))
    return Scene(clock, log, keeper, guard, WalPosition((1, 1), b"salts", 0, b""))


def test_an_application_that_can_be_followed_is_left_alone(scene: Scene) -> None:
    assert not any(scene.look(frame * 100) for frame in range(100))
    assert scene.keeper.settled
    assert scene.log.lines == []


def test_under_pressure_the_log_is_held_and_let_go_when_it_is_over(scene: Scene) -> None:
    scene.keeper.press()
    assert not scene.keeper.settled
    assert scene.look(100)
    assert scene.keeper.settled
    assert not scene.look(200, seconds=3.0)
    assert [event for event, _ in scene.log.lines] == [Event.SOURCE_GUARDED, Event.SOURCE_RELEASED]


def test_a_high_rate_keeps_up_the_pressure(scene: Scene) -> None:
    scene.keeper.press()
    assert scene.look(10)
    for _ in range(3):
        assert scene.look(scene.at.frame + 300, seconds=0.1)
    assert scene.look(scene.at.frame + 1, seconds=1.9)
    assert not scene.look(scene.at.frame + 1, seconds=0.2)


def test_a_log_that_nobody_writes_to_is_let_go(scene: Scene) -> None:
    """The application waits in a TRUNCATE checkpoint, perhaps, and for us."""
    scene.keeper.press()
    assert scene.look(10, seconds=0.02)
    assert not scene.look(10, seconds=0.02)
    assert scene.keeper.settled


def test_a_long_log_is_let_go_until_it_was_reset(scene: Scene) -> None:
    scene.keeper.press()
    assert scene.look(LONG - 1)
    assert not scene.look(LONG, seconds=0.01)
    scene.keeper.press()
    assert not scene.look(LONG + 10, seconds=0.01)
    assert not scene.keeper.settled
    assert scene.look(5, salts=b"other", seconds=0.01)


def test_a_long_log_that_is_not_reset_is_held_again(scene: Scene) -> None:
    scene.keeper.press()
    scene.look(10, seconds=0.01)
    assert not scene.look(LONG, seconds=0.01)
    assert scene.look(LONG + 10, seconds=0.3)
    assert scene.look(2 * LONG - 1, seconds=0.01)
    assert not scene.look(2 * LONG, seconds=0.01)


def test_a_mark_that_is_taken_is_tried_again(scene: Scene) -> None:
    scene.guard.free = False
    scene.keeper.press()
    assert not scene.look(10, seconds=0.1)
    assert not scene.keeper.settled
    scene.guard.free = True
    assert scene.look(11, seconds=0.1)


def test_another_log_gets_another_guard(scene: Scene) -> None:
    scene.keeper.press()
    assert scene.look(10, seconds=0.1)
    scene.keeper.use(None)
    assert not scene.guard.held
    assert not scene.look(20, seconds=0.1)


def test_before_work_begins_the_log_is_held_whatever_its_length(scene: Scene) -> None:
    scene.keeper.secure()
    assert not scene.guard.held  # no pressure, no lock
    scene.keeper.press()
    scene.look(10, seconds=0.01)
    assert not scene.look(LONG, seconds=0.01)
    scene.keeper.secure()
    assert scene.guard.held
    assert not scene.look(LONG + 50, seconds=0.01)  # the work is done: it may be reset now


def test_a_burst_is_met_before_it_outruns_us(scene: Scene) -> None:
    assert not scene.look(150, seconds=0.01)  # fast, but little
    assert not scene.look(450, seconds=0.1)  # much, but slow
    assert scene.look(850, seconds=0.03)


def test_a_log_is_not_held_while_our_own_work_hangs(scene: Scene) -> None:
    """As on a disk that does not answer: without this the application's log grew to 1.5 GB in 36 s."""
    scene.look(1)
    assert scene.look(1 + 11_000)
    scene.clock.advance(1.5)
    scene.keeper.expire()
    assert scene.guard.held, "a large piece takes a while"
    scene.clock.advance(1.0)
    scene.keeper.expire()
    assert not scene.guard.held
    scene.clock.advance(1.0)
    scene.keeper.expire()
    assert not scene.guard.held


def test_what_is_secured_is_held_anew(scene: Scene) -> None:
    scene.keeper.press()
    scene.clock.advance(1.9)
    scene.keeper.secure()
    scene.keeper.expire()
    assert scene.guard.held
    scene.clock.advance(2.1)
    scene.keeper.expire()
    assert not scene.guard.held
