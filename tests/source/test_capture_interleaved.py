"""The application acts at every point between two reads of ours, in every way it can.

Whatever it does then: what capture calls a boundary is a state that the application committed, and in the
end the shadow is the database.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from syncd.source import follow
from syncd.source.wal import WalFile
from tests.source.app import App, AppError
from tests.source.rig import LOOKS, Rig

FAST = ("journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0", "busy_timeout=0")
ROW = "INSERT INTO t (a) VALUES (randomblob(6000))"
MOST = 60


class Actor:
    """The application, and every state that it committed."""

    def __init__(self, start_app: Callable[[], App]) -> None:
        self._start = start_app
        self.app = start_app().open(*FAST)
        self.states: set[bytes] = set()
        self.commit("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
        for _ in range(10):
            self.commit(ROW)

    def commit(self, *statements: str) -> None:
        for statement in statements:
            with contextlib.suppress(AppError):  # the guard may keep the journal mode from changing
                self.app.sql(statement)
        self.note()

    def note(self) -> None:
        to = self.app.path.with_name("truth")
        self.states.add(self.app.serialize(to))
        to.unlink()

    def reset(self) -> None:
        self.commit("PRAGMA wal_checkpoint(RESTART)", ROW)

    def overgrow(self) -> None:
        self.app.sql("PRAGMA wal_checkpoint(RESTART)")
        for _ in range(40):
            self.commit(ROW)

    def truncate(self) -> None:
        self.commit("PRAGMA wal_checkpoint(TRUNCATE)", ROW)

    def reopen(self) -> None:
        self.app.close()
        self.app.open(*FAST)
        self.commit(ROW)

    def close(self) -> None:
        self.app.close()
        self.app.open()  # no file is opened before the first statement
        self.states.add(self.app.path.read_bytes())

    def crash(self) -> None:
        self.app.kill()
        self.app = self._start().open(*FAST)
        self.note()
        self.commit(ROW)

    def rebase(self) -> None:
        self.commit("PRAGMA journal_mode=delete")
        self.commit("PRAGMA page_size=1024", "VACUUM")
        self.commit("PRAGMA journal_mode=wal")
        self.commit(ROW)


def interleave(rig: Rig, actor: Actor, at: int, act: Callable[[], None], patch: pytest.MonkeyPatch) -> bool:
    """Catch up, with the act before the read of that number. False where there are fewer reads."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            act()

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **settings: Any) -> Any:
            step()
            return function(*args, **settings)

        return stepping

    images = WalFile.images

    def imaging(wal: WalFile, frames: Iterator[int]) -> Iterator[bytes]:
        for n, frame in enumerate(frames):
            if n % 8 == 0:
                step()
            yield from images(wal, [frame])

    patch.setattr(follow, "read_index", before(follow.read_index))
    patch.setattr(WalFile, "survey", before(WalFile.survey))
    patch.setattr(WalFile, "frame_header", before(WalFile.frame_header))
    patch.setattr(WalFile, "images", imaging)
    for _ in range(LOOKS):
        progress = rig.capture.poll()
        if progress.full or (progress.boundary and (progress.dirty or rig.owing)):
            piece = rig.take()
            assert not piece.boundary or rig.shadow_bytes() in actor.states
        elif progress.boundary and not progress.busy:
            break
    return count >= at


@pytest.mark.parametrize("act", ["reset", "overgrow", "truncate", "reopen", "close", "crash", "rebase"])
@pytest.mark.parametrize("max_bytes", [8 << 20, 32 << 10])
def test_an_act_at_every_point(
    start_app: Callable[[], App],
    make_rig: Callable[..., Rig],
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    max_bytes: int,
) -> None:
    actor = Actor(start_app)
    rig = make_rig(max_bytes=max_bytes)
    rig.check()
    for at in range(1, MOST):
        actor.commit("BEGIN", *[ROW] * 8, "COMMIT")
        actor.commit("DELETE FROM t WHERE id < (SELECT max(id) - 10 FROM t)")
        with monkeypatch.context() as patch:
            reached = interleave(rig, actor, at, getattr(actor, act), patch)
        rig.clock.advance(60)  # nothing is held from one turn to the next
        rig.catch_up()
        assert rig.shadow_bytes() in actor.states
        rig.check()
        if not reached:
            return
        actor.states.clear()
        actor.note()
    raise AssertionError("there are more points than that")
