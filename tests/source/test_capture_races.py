"""The application acts between two reads of ours that have to fit together."""

from collections.abc import Callable

import pytest

from syncd.source.capture import Capture
from syncd.source.wal import WalFile
from tests.source.app import App
from tests.source.rig import Rig

ALONE = ("locking_mode=exclusive", "journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0")


@pytest.fixture
def alone(app: App) -> App:
    """Three megabytes, and a log without an index."""
    app.open(*ALONE)
    app.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
    for _ in range(30):
        app.sql("INSERT INTO t (a) VALUES (randomblob(100000))")
    app.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    app.sql("UPDATE t SET a = zeroblob(10) WHERE id = 15")
    app.sql("UPDATE t SET a = zeroblob(20) WHERE id = 15")
    return app


def settle(rig: Rig) -> None:
    """Poll until a boundary; what was taken then has to be a committed state."""
    while not rig.capture.poll().boundary:
        pass
    rig.take()


def test_a_log_that_is_overwritten_after_its_place_was_found(
    alone: App, make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig()
    compare, frame_header = Capture._compare, WalFile.frame_header
    armed = fired = False

    def comparing(capture: Capture, first: int, total: int) -> int:
        nonlocal armed
        if first + 256 > total and not fired:  # the last block
            alone.sql("UPDATE t SET a = randomblob(100000) WHERE id IN (1, 30)")
            alone.sql("PRAGMA wal_checkpoint(FULL)")
            armed = True
        return compare(capture, first, total)

    def reading(wal: WalFile, frame: int) -> bytes:
        nonlocal armed, fired
        found = frame_header(wal, frame)
        if armed:
            armed, fired = False, True
            for _ in range(3):
                alone.sql("UPDATE t SET a = randomblob(100000) WHERE id = 7")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Capture, "_compare", comparing)
        patch.setattr(WalFile, "frame_header", reading)
        settle(rig)
    assert fired
    assert rig.shadow_bytes() == alone.serialize(rig.scratch / "truth.db")


def test_commits_and_checkpoints_between_any_two_blocks(
    app: App, make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.open(*ALONE[1:], "busy_timeout=0")
    app.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
    for _ in range(30):
        app.sql("INSERT INTO t (a) VALUES (randomblob(100000))")
    rig = make_rig()
    compare = Capture._compare
    turn = 0

    def comparing(capture: Capture, first: int, total: int) -> int:
        nonlocal turn
        turn += 1
        app.sql("UPDATE t SET a = randomblob(100000) WHERE id IN (?, ?)", turn % 30 + 1, 30 - turn % 30)
        if turn < 8:
            app.sql(f"PRAGMA wal_checkpoint({('PASSIVE', 'RESTART', 'TRUNCATE')[turn % 3]})")
        return compare(capture, first, total)

    with monkeypatch.context() as patch:
        patch.setattr(Capture, "_compare", comparing)
        settle(rig)
    assert rig.shadow_bytes() == app.serialize(rig.scratch / "truth.db")
    assert turn > 3
