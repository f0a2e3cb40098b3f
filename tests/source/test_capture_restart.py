"""The daemon stops, keeps its position, and goes on later: what is compared, and what need not be."""

from collections.abc import Callable

import pytest

from syncd.source import capture
from syncd.source.position import QuietPosition, WalPosition
from tests.source.app import App
from tests.source.rig import Rig

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)"
ROW = "INSERT INTO t (a) VALUES (randomblob(?))"
FAST = ("journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0")


@pytest.fixture
def chat(app: App) -> App:
    app.open(*FAST)
    app.sql(TABLE)
    for _ in range(20):
        app.sql(ROW, 1000)
    return app


def test_the_same_log_is_continued(chat: App, rig: Rig) -> None:
    rig.check()
    chat.sql(ROW, 5000)
    rig.restart()
    chat.sql(ROW, 5000)
    assert [piece.commits for piece in rig.check()] == [2]
    assert isinstance(rig.capture.position, WalPosition)
    assert rig.comparisons() == []


def test_a_log_that_was_reset_meanwhile_means_comparison(chat: App, rig: Rig) -> None:
    rig.check()
    rig.restart()
    chat.sql("PRAGMA wal_checkpoint(RESTART)")
    chat.sql(ROW, 5000)
    rig.check()
    assert rig.comparisons() == ["the log was reset while syncd was not looking"]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_log_that_was_closed_meanwhile(chat: App, rig: Rig, writes: int) -> None:
    rig.check()
    rig.restart()
    for _ in range(writes):
        chat.sql(ROW, 5000)
    chat.close()
    assert len(rig.check()) == writes
    assert isinstance(rig.capture.position, QuietPosition)


def test_a_file_that_nobody_wrote_is_not_compared(
    chat: App, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.close()
    rig.check()
    rig.restart()
    monkeypatch.setattr(capture, "read_padded", None)  # reading would fail
    assert rig.check() == []


def test_a_file_that_was_written_is_compared(chat: App, rig: Rig) -> None:
    chat.close()
    rig.check()
    chat.open()
    chat.sql(ROW, 5000)
    chat.close()
    rig.restart()
    assert len(rig.check()) == 1


@pytest.mark.usefixtures("chat")
def test_without_a_position_everything_is_compared(rig: Rig) -> None:
    rig.check()
    rig.restart(forget=True)
    rig.check()
    assert rig.comparisons() == ["a log, and no position in it"]


def test_a_stop_between_two_pieces_is_found_again(chat: App, make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=64 << 10)
    rig.check()
    chat.sql("BEGIN")
    for _ in range(40):
        chat.sql(ROW, 20_000)
    chat.sql("COMMIT")
    assert rig.capture.poll().full
    assert rig.take().position is None
    rig.restart()
    rig.check()


def test_a_crash_meanwhile_and_its_recovery(chat: App, rig: Rig, start_app: Callable[[], App]) -> None:
    rig.check()
    chat.sql(ROW, 5000)
    chat.kill()
    rig.restart()
    assert [piece.commits for piece in rig.check()] == [1]
    rig.restart()
    again = start_app().open(*FAST)
    again.sql(ROW, 5000)
    assert [piece.commits for piece in rig.check()] == [1]
    assert rig.comparisons() == []


def test_a_log_shorter_than_the_position_ships_the_way_back(
    chat: App, rig: Rig, start_app: Callable[[], App]
) -> None:
    wal = rig.path.with_name("chat.db-wal")
    before = wal.stat().st_size
    chat.sql(ROW, 5000)
    rig.check()
    rig.restart()
    chat.kill()
    with wal.open("r+b") as file:  # what a power loss can do with synchronous=off
        file.truncate(before)
    rig.check()
    assert rig.comparisons() == ["the log was rewritten"]
    assert start_app().open().sql("SELECT count(*) FROM t") == [[20]]
    rig.check()


def test_an_emptied_log_ships_the_way_back(chat: App, rig: Rig) -> None:
    rig.check()
    rig.restart()
    chat.kill()
    rig.path.with_name("chat.db-wal").write_bytes(bytes(100))
    # Not even the header was ever written back: the table is in the log only.
    rig.check()
    assert rig.shadow.page_count == 1
