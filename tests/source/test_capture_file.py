"""Databases without a log, and everything that makes a database another one."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.errors import SourceError
from syncd.log import Event
from syncd.source import capture
from syncd.source.position import QuietPosition, WalPosition
from tests.source.app import App
from tests.source.rig import Rig

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)"
ROW = "INSERT INTO t (a) VALUES (randomblob(?))"
ROLLBACK_MODES = ("delete", "truncate", "persist", "memory")


@pytest.mark.parametrize("mode", ROLLBACK_MODES)
def test_journal_modes_without_a_log(app: App, rig: Rig, mode: str) -> None:
    app.open(f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    rig.check()
    for size in (10, 5000, 40_000):
        app.sql(ROW, size)
        pieces = rig.check()
        assert [piece.boundary for piece in pieces] == [True]
        assert isinstance(rig.capture.position, QuietPosition)
    assert rig.check() == []


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist"])
def test_a_transaction_that_spilled_is_not_read(app: App, rig: Rig, mode: str) -> None:
    app.open(f"journal_mode={mode}", "cache_size=2")
    app.sql(TABLE)
    rig.check()
    app.sql("BEGIN")
    for _ in range(30):
        app.sql(ROW, 3000)
    for _ in range(100):
        progress = rig.capture.poll()
        assert progress.busy
        assert not progress.dirty
    app.sql("COMMIT")
    rig.check()


def test_a_hot_journal_is_waited_for(app: App, rig: Rig, start_app: Callable[[], App]) -> None:
    app.open("cache_size=2")
    app.sql(TABLE)
    rig.check()
    app.sql("BEGIN")
    for _ in range(30):
        app.sql(ROW, 3000)
    app.kill()
    assert rig.capture.poll().busy
    again = start_app().open()
    assert again.sql("SELECT count(*) FROM t") == [[0]]  # rolls back
    rig.check()


def test_a_write_during_the_comparison_is_noticed(app: App, make_rig: Callable[..., Rig]) -> None:
    app.open("synchronous=off")
    app.sql(TABLE)
    for _ in range(100):
        app.sql(ROW, 40_000)
    rig = make_rig(max_bytes=64 << 10)
    while not rig.capture.poll().full:
        pass
    rig.take()
    app.sql("UPDATE t SET a = zeroblob(5000) WHERE id = 1")
    progress = rig.capture.poll()
    assert progress.busy
    assert not progress.boundary
    rig.check()


def test_the_log_comes_and_goes(app: App, rig: Rig) -> None:
    app.open("synchronous=off")
    app.sql(TABLE)
    for mode in ("delete", "wal", "truncate", "wal", "memory", "wal", "persist"):
        app.sql(f"PRAGMA journal_mode={mode}")
        for _ in range(3):
            app.sql(ROW, 5000)
        rig.check()
        app.sql(ROW, 5000)
        rig.check()
        assert isinstance(rig.capture.position, WalPosition) == (mode == "wal")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_vacuum(app: App, rig: Rig, mode: str) -> None:
    app.open(f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    for _ in range(50):
        app.sql(ROW, 9000)
    rig.check()
    before = rig.shadow.page_count
    app.sql("DELETE FROM t WHERE id % 3")
    rig.check()
    app.sql("VACUUM")
    rig.check()
    assert rig.shadow.page_count < before
    app.sql(ROW, 90_000)
    rig.check()


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("vacuum", [1, 2])
def test_a_file_that_shrinks(app: App, rig: Rig, mode: str, vacuum: int) -> None:
    app.open(f"auto_vacuum={vacuum}", f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    for _ in range(50):
        app.sql(ROW, 9000)
    rig.check()
    before = rig.shadow.page_count
    app.sql("DELETE FROM t WHERE id > 10")
    app.sql("PRAGMA incremental_vacuum(20)")
    rig.check()
    assert rig.shadow.page_count < before
    app.sql(ROW, 90_000)
    rig.check()


def test_the_page_size_changes(app: App, rig: Rig) -> None:
    app.open("page_size=1024", "journal_mode=wal", "synchronous=off")
    app.sql(TABLE)
    app.sql(ROW, 9000)
    rig.check()
    for size in (65536, 512, 4096):
        app.sql("PRAGMA journal_mode=delete")
        app.sql(f"PRAGMA page_size={size}")
        app.sql("VACUUM")
        app.sql("PRAGMA journal_mode=wal")
        app.sql(ROW, 9000)
        pieces = rig.check()
        assert pieces[0].rebase
        assert rig.shadow.page_size == size


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_every_page_size(app: App, rig: Rig, size: int, mode: str) -> None:
    app.open(f"page_size={size}", f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    rig.check()
    app.sql(ROW, 100_000)
    rig.check()
    assert rig.shadow.page_size == size


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_deleted_and_created_again(app: App, rig: Rig, path: Path, mode: str) -> None:
    app.open(f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    app.sql(ROW, 9000)
    rig.check()
    app.close()
    path.unlink()
    with pytest.raises(SourceError, match=r"chat\.db does not exist"):
        rig.capture.poll()
    assert rig.capture.position is not None  # nothing was lost yet
    app.open(f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    app.sql(ROW, 20_000)
    rig.check()
    assert rig.log.of(Event.SOURCE_REPLACED)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_replaced_by_another_file(app: App, rig: Rig, path: Path, mode: str) -> None:
    app.open(f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    app.sql(ROW, 9000)
    app.close()
    other = path.with_name("other.db")
    shutil.copyfile(path, other)
    app.open("synchronous=off")
    app.sql(ROW, 9000)
    rig.check()
    app.close()
    os.replace(other, path)  # noqa: PTH105 - this call is what applications do
    app.open("synchronous=off")
    app.sql(ROW, 100)
    rig.check()
    assert rig.log.of(Event.SOURCE_REPLACED)


def test_an_empty_file_is_waited_for(app: App, rig: Rig, path: Path) -> None:
    path.touch()
    with pytest.raises(SourceError, match="is empty, not yet a SQLite database"):
        rig.capture.poll()
    app.open("synchronous=off")
    app.sql(TABLE)
    rig.check()


def test_a_missing_file_is_waited_for(app: App, rig: Rig) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        rig.capture.poll()
    app.open("journal_mode=wal", "synchronous=off")
    app.sql(TABLE)
    rig.check()


def test_what_is_not_a_database_is_said(rig: Rig, path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(SourceError, match="is not a SQLite 3 database"):
        rig.capture.poll()
    assert not path.with_name("chat.db-wal").exists()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_link_leads_to_the_log_of_the_file_it_names(
    app: App, make_rig: Callable[..., Rig], path: Path, mode: str
) -> None:
    real = path.parent / "real"
    real.mkdir()
    path.symlink_to(real / "messages.db")
    app.open(f"journal_mode={mode}", "synchronous=off")
    app.sql(TABLE)
    app.sql(ROW, 9000)
    rig = make_rig()
    rig.catch_up()
    assert rig.shadow_bytes() == app.serialize(rig.scratch / "truth.db")


def test_nothing_is_created_beside_the_database(app: App, rig: Rig, path: Path) -> None:
    app.open("journal_mode=wal", "synchronous=off")
    app.sql(TABLE)
    rig.check()
    app.close()
    rig.check()
    rig.restart()
    rig.check()
    assert [each.name for each in path.parent.iterdir()] == ["chat.db"]


def test_a_journal_that_cannot_be_read_is_said(app: App, rig: Rig, path: Path) -> None:
    app.open()
    app.sql(TABLE)
    rig.check()
    journal = path.with_name("chat.db-journal")
    journal.symlink_to(journal)  # as unreadable for root as a forbidden one is for others
    with pytest.raises(SourceError, match=r"chat\.db-journal cannot be read"):
        rig.capture.poll()


def test_a_failing_disk_is_the_sources_error(app: App, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    app.open("synchronous=off")
    app.sql(TABLE)
    rig.check()
    app.sql(ROW, 9000)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(capture, "read_padded", failing)
        with pytest.raises(SourceError, match=r"chat\.db cannot be read: Input/output error"):
            rig.catch_up()
    rig.check()
