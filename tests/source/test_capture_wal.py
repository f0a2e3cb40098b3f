"""Following a log that other processes write, reset and take away."""

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.log import Event
from syncd.source.position import ClosedPosition, QuietPosition, WalPosition
from tests.source.app import App
from tests.source.rig import Rig, let_tick_pass

FAST = ("journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0")
TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)"
ROW = "INSERT INTO t (a) VALUES (randomblob(?))"


@pytest.fixture
def chat(app: App) -> App:
    app.open(*FAST)
    app.sql(TABLE)
    for _ in range(20):
        app.sql(ROW, 1000)
    return app


def test_commits_are_read_from_the_log_alone(chat: App, rig: Rig) -> None:
    rig.check()
    assert rig.comparisons() == ["a log, and no position in it"]
    for size in (10, 5000, 40_000):
        chat.sql(ROW, size)
        pieces = rig.check()
        assert [(piece.boundary, piece.commits) for piece in pieces] == [(True, 1)]
    chat.sql(ROW, 10)
    chat.sql(ROW, 10)
    assert [piece.commits for piece in rig.check()] == [2]
    assert rig.comparisons() == []


def test_an_idle_database_gives_nothing(chat: App, rig: Rig) -> None:
    rig.check()
    assert chat.sql("SELECT count(*) FROM t") == [[20]]
    assert rig.check() == []


def test_what_is_not_committed_is_not_read(chat: App, rig: Rig) -> None:
    rig.check()
    rig.comparisons()
    chat.sql("PRAGMA cache_size=2")
    chat.sql("BEGIN")
    for _ in range(50):
        chat.sql(ROW, 3000)  # spills into the log
    assert rig.catch_up() == []
    chat.sql("ROLLBACK")
    chat.sql(ROW, 10)
    assert [piece.commits for piece in rig.check()] == [1]
    assert rig.comparisons() == []


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_a_reset_with_nothing_written_between(chat: App, rig: Rig, mode: str) -> None:
    rig.check()
    rig.comparisons()
    chat.sql(f"PRAGMA wal_checkpoint({mode})")
    rig.check()
    chat.sql(ROW, 100)
    rig.check()
    assert rig.comparisons() == []


def test_after_a_reset_the_old_tail_is_read_first(chat: App, rig: Rig) -> None:
    rig.check()
    rig.comparisons()
    for _ in range(10):
        chat.sql(ROW, 1000)
    chat.sql("PRAGMA wal_checkpoint(RESTART)")
    chat.sql(ROW, 1000)
    pieces = rig.check()
    assert [piece.commits for piece in pieces] == [11]
    assert rig.comparisons() == []


def test_a_tail_that_was_overwritten_is_noticed(chat: App, rig: Rig) -> None:
    rig.check()
    rig.comparisons()
    for _ in range(3):
        chat.sql(ROW, 1000)
    chat.sql("PRAGMA wal_checkpoint(RESTART)")
    for _ in range(60):
        chat.sql(ROW, 1000)
    rig.catch_up()
    assert rig.log.of(Event.FRAMES_LOST)
    rig.check()
    assert [str(reason)[-4:] for reason in rig.comparisons()] == ["read"]


def test_a_tail_that_was_truncated_is_noticed(chat: App, rig: Rig) -> None:
    rig.check()
    rig.comparisons()
    chat.sql(ROW, 1000)
    chat.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    rig.check()
    assert len(rig.comparisons()) == 1


def test_two_resets_between_two_looks(chat: App, rig: Rig) -> None:
    rig.check()
    for _ in range(2):
        chat.sql(ROW, 1000)
        chat.sql("PRAGMA wal_checkpoint(RESTART)")
    chat.sql(ROW, 1000)
    rig.check()
    assert len(rig.comparisons()) == 2


def test_the_last_connection_closes_and_nothing_is_compared(chat: App, rig: Rig, path: Path) -> None:
    rig.check()
    rig.comparisons()
    chat.sql(ROW, 1000)
    chat.sql("PRAGMA wal_checkpoint(PASSIVE)")
    let_tick_pass(path)
    chat.close()
    assert not path.with_name("chat.db-wal").exists()
    pieces = rig.check()  # the last row comes from behind our descriptor
    assert [piece.commits for piece in pieces] == [1]
    assert isinstance(rig.capture.position, QuietPosition)
    assert rig.comparisons() == []


def test_closed_and_opened_again_between_two_looks(chat: App, rig: Rig, path: Path) -> None:
    rig.check()
    chat.sql("PRAGMA wal_checkpoint(PASSIVE)")
    let_tick_pass(path)
    rig.comparisons()
    chat.close()
    chat.open(*FAST)
    for _ in range(3):
        chat.sql(ROW, 1000)
    assert [piece.commits for piece in rig.check()] == [3]
    assert isinstance(rig.capture.position, WalPosition)
    assert rig.comparisons() == []


def test_opened_again_after_a_quiet_look(chat: App, rig: Rig) -> None:
    rig.check()
    chat.close()
    rig.check()
    assert isinstance(rig.capture.position, QuietPosition)
    rig.comparisons()
    chat.open(*FAST)
    chat.sql(ROW, 1000)
    assert [piece.commits for piece in rig.check()] == [1]
    assert isinstance(rig.capture.position, WalPosition)
    assert rig.comparisons() == []


def test_a_visit_after_a_quiet_look_is_noticed(chat: App, rig: Rig, path: Path) -> None:
    rig.check()
    chat.close()
    rig.check()
    let_tick_pass(path)
    rig.comparisons()
    chat.open(*FAST)
    chat.sql(ROW, 1000)
    chat.close()  # nobody looked
    chat.open(*FAST)
    chat.sql(ROW, 1000)
    rig.check()
    assert len(rig.comparisons()) == 1


def test_a_position_behind_a_closed_log_is_not_kept(chat: App, rig: Rig, path: Path) -> None:
    rig.check()
    chat.sql("PRAGMA wal_checkpoint(PASSIVE)")
    let_tick_pass(path)
    chat.close()
    rig.capture.poll()
    assert isinstance(rig.capture.position, ClosedPosition | QuietPosition)


def test_a_crash_leaves_a_log_that_counts_by_its_chain(
    chat: App, rig: Rig, start_app: Callable[[], App]
) -> None:
    rig.check()
    rig.comparisons()
    chat.sql(ROW, 1000)
    chat.sql("BEGIN")
    chat.sql(ROW, 1000)
    chat.kill()
    assert [piece.commits for piece in rig.check()] == [1]
    again = start_app().open(*FAST)
    assert again.sql("SELECT count(*) FROM t") == [[21]]
    rig.check()
    again.sql(ROW, 1000)
    assert [piece.commits for piece in rig.check()] == [1]
    assert rig.comparisons() == []


def test_a_crash_and_a_recovery_between_two_looks(chat: App, rig: Rig, start_app: Callable[[], App]) -> None:
    rig.check()
    chat.sql(ROW, 1000)
    chat.kill()
    again = start_app().open(*FAST)
    again.sql(ROW, 1000)
    rig.check()
    rig.clock.advance(60)  # the log is let go, which was held since commits did not add up
    rig.check()
    again.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    again.sql(ROW, 1000)
    rig.check()


def test_the_first_look_finds_what_a_crash_left(chat: App, rig: Rig) -> None:
    chat.kill()
    rig.check()
    assert isinstance(rig.capture.position, WalPosition)


def test_a_log_without_an_index(app: App, rig: Rig, path: Path) -> None:
    app.open("locking_mode=exclusive", *FAST)
    app.sql(TABLE)
    app.sql(ROW, 1000)
    assert not path.with_name("chat.db-shm").exists()
    rig.check()
    rig.comparisons()
    for _ in range(5):
        app.sql(ROW, 9000)
    assert [piece.commits for piece in rig.check()] == [5]
    assert rig.comparisons() == []
    app.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    app.sql(ROW, 1000)
    rig.check()
    assert rig.comparisons() == ["the log was reset while nobody was connected"]
    app.close()
    rig.check()


def test_several_connections_and_processes_write(chat: App, rig: Rig, start_app: Callable[[], App]) -> None:
    other = start_app().open(*FAST)
    chat.open(*FAST, name="b")
    rig.check()
    rig.comparisons()
    for _ in range(5):
        chat.sql(ROW, 100)
        chat.sql(ROW, 100, name="b")
        other.sql(ROW, 100)
    chat.close("b")
    assert [piece.commits for piece in rig.check()] == [15]
    other.kill()
    chat.sql(ROW, 100)
    assert [piece.commits for piece in rig.check()] == [1]
    assert rig.comparisons() == []


def test_frames_that_pad_a_sector_are_no_commits(app: App, rig: Rig, path: Path) -> None:
    app.open("page_size=512", path=f"{path.as_uri()}?psow=0")
    for pragma in ("journal_mode=wal", "synchronous=full", "wal_autocheckpoint=0"):
        app.sql(f"PRAGMA {pragma}")
    app.sql(TABLE)
    rig.check()
    rig.comparisons()
    before = path.with_name("chat.db-wal").stat().st_size
    for _ in range(7):
        app.sql(ROW, 20)
    frames = (path.with_name("chat.db-wal").stat().st_size - before) // (512 + 24)
    assert frames > 14  # more than the pages that were changed
    rig.check()
    assert rig.comparisons() == []


def test_a_transaction_larger_than_a_piece(chat: App, make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=64 << 10)
    rig.check()
    rig.comparisons()
    chat.sql("BEGIN")
    for _ in range(40):
        chat.sql(ROW, 20_000)
    chat.sql("COMMIT")
    pieces = rig.check()
    assert len(pieces) > 5
    assert [piece.boundary for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(len(piece.pages) * piece.page_size <= (64 << 10) + (1 << 20) for piece in pieces)
    assert [piece.position is None for piece in pieces] == [not piece.boundary for piece in pieces]
    assert sum(piece.commits for piece in pieces) == 1
    assert rig.comparisons() == []


def test_a_reset_between_two_pieces_of_one_transaction(chat: App, make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=64 << 10)
    rig.check()
    chat.sql("BEGIN")
    for _ in range(40):
        chat.sql(ROW, 20_000)
    chat.sql("COMMIT")
    assert rig.capture.poll().full
    rig.take()
    chat.sql("PRAGMA wal_checkpoint(RESTART)")
    chat.sql("UPDATE t SET a = randomblob(500) WHERE id % 3 = 0")
    rig.check()


def test_a_first_copy_in_pieces_while_the_application_writes(chat: App, make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_bytes=64 << 10)
    for _ in range(150):
        chat.sql(ROW, 20_000)
    chat.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    taken = 0
    while True:
        progress = rig.capture.poll()
        if progress.boundary and not progress.full:
            break
        rig.take()
        taken += 1
        chat.sql("UPDATE t SET a = randomblob(20000) WHERE id = ?", taken)
        chat.sql("PRAGMA wal_checkpoint(PASSIVE)")
    assert taken > 2
    rig.check()
