"""The application acts at every point between two reads of ours, in every way it can.

Whatever it does then: what capture calls a boundary is a state that the application committed, and in the
end the shadow is the database.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from syncd.source import capture, follow, shadow, walindex
from syncd.source.wal import WalFile
from tests.source.app import App, AppError
from tests.source.rig import LOOKS, Rig

FAST = ("journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0", "busy_timeout=0")
ROW = "INSERT INTO t (a) VALUES (randomblob(6000))"
MOST = 300
EVERY = os.environ.get("SYNCD_CRASHES") == "all"


class Actor:
    """The application, and every state that it committed."""

    def __init__(self, start_app: Callable[[], App], *, alone: bool) -> None:
        self._start = start_app
        self._pragmas = ("locking_mode=exclusive", *FAST) if alone else FAST
        self.app = start_app().open(*self._pragmas)
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
        self.app.open(*self._pragmas)
        self.commit(ROW)

    def renew(self) -> None:
        self.reopen()
        self.commit("PRAGMA wal_checkpoint(PASSIVE)", ROW)
        self.commit("PRAGMA wal_checkpoint(PASSIVE)", ROW)

    def replace(self) -> None:
        self.app.close()
        other = self.app.path.with_name("other.db")
        shutil.copyfile(self.app.path, other)
        other.replace(self.app.path)
        self.app.open(*self._pragmas)
        self.commit(ROW)
        self.commit("PRAGMA wal_checkpoint(PASSIVE)", ROW)

    def close(self) -> None:
        self.app.close()
        self.app.open()  # no file is opened before the first statement
        self.states.add(self.app.path.read_bytes())

    def crash(self) -> None:
        self.app.kill()
        self.app = self._start().open(*self._pragmas)
        self.note()
        self.commit(ROW)

    def rebase(self) -> None:
        self.commit("PRAGMA journal_mode=delete")
        self.commit("PRAGMA page_size=1024", "VACUUM")
        self.commit("PRAGMA journal_mode=wal")
        self.commit(ROW)


class Points:
    """Counts the reads of capture; the act comes before number `at`."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.count = 0
        self._at, self._act = at, act

    def step(self) -> None:
        self.count += 1
        if self.count == self._at:
            self._act()

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **settings: Any) -> Any:
            self.step()
            return function(*args, **settings)

        return stepping

    def install(self, patch: pytest.MonkeyPatch) -> None:
        images, chain = WalFile.images, WalFile.chain
        points = self

        def imaging(wal: WalFile, frames: Iterator[int]) -> Iterator[bytes]:
            for n, frame in enumerate(frames):
                if n % 8 == 0:
                    points.step()
                yield from images(wal, [frame])

        def chaining(wal: WalFile, *args: Any, **settings: Any) -> Iterator[Any]:
            points.step()
            for n, found in enumerate(chain(wal, *args, **settings)):
                if n % 8 == 0:
                    points.step()
                yield found

        patch.setattr(WalFile, "chain", chaining)
        patch.setattr(WalFile, "header", self.before(WalFile.header))
        patch.setattr(follow, "read_index", self.before(walindex.read_index))
        patch.setattr(capture, "read_padded", self.before(shadow.read_padded))
        patch.setattr(capture, "_COMPARE_BYTES", 32 << 10)
        patch.setattr(WalFile, "survey", self.before(WalFile.survey))
        patch.setattr(WalFile, "frame_header", self.before(WalFile.frame_header))
        patch.setattr(WalFile, "images", imaging)


def follow_on(rig: Rig, actor: Actor) -> None:
    """Catch up; every boundary on the way is a committed state."""
    for _ in range(LOOKS):
        progress = rig.capture.poll()
        if progress.full or (progress.boundary and (progress.dirty or rig.owing)):
            piece = rig.take()
            assert not piece.boundary or rig.shadow_bytes() in actor.states
        elif progress.boundary and not progress.busy:
            return
    raise AssertionError("it did not come to rest")


@pytest.mark.parametrize(
    "act", ["reset", "overgrow", "truncate", "reopen", "renew", "replace", "close", "crash", "rebase"]
)
@pytest.mark.parametrize(
    "way",
    ["follow", "follow in pieces", "follow alone", "compare", "compare in pieces", "compare alone in pieces"],
)
def test_an_act_at_every_point(
    start_app: Callable[[], App],
    make_rig: Callable[..., Rig],
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    way: str,
) -> None:
    actor = Actor(start_app, alone="alone" in way)
    rig = make_rig(max_bytes=32 << 10 if "pieces" in way else 8 << 20)
    rig.check()
    stride = 1 if EVERY else 11 if "compare" in way else 4
    for at in range(1, MOST, stride):
        actor.commit("BEGIN", *[ROW] * 8, "COMMIT")
        actor.commit("DELETE FROM t WHERE id < (SELECT max(id) - 10 FROM t)")
        if "compare" in way:
            rig.restart(forget=True)
        points = Points(at, getattr(actor, act))
        with monkeypatch.context() as patch:
            points.install(patch)
            follow_on(rig, actor)
        rig.clock.advance(60)  # nothing is held from one turn to the next
        rig.check()
        actor.commit("PRAGMA wal_checkpoint(RESTART)", ROW)  # or the log would grow from turn to turn
        rig.check()
        if points.count < at:
            return
        actor.states.clear()
        actor.note()
    raise AssertionError("there are more points than that")
