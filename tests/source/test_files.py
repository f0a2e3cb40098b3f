"""When a file without a log is quiet, and whose descriptors are open."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.errors import SourceError
from syncd.source.files import SourceFiles
from tests.source.app import App
from tests.source.rig import let_tick_pass


@pytest.fixture
def files(app: App, path: Path) -> Iterator[SourceFiles]:
    app.open("journal_mode=delete", "cache_size=2")
    app.sql("CREATE TABLE t (a)")
    files = SourceFiles(path)
    files.open_database()
    let_tick_pass(path)
    yield files
    files.close()


def at(monkeypatch: pytest.MonkeyPatch, ns: int) -> None:
    """The clock that stamps files shows this from now on."""
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: ns)


def test_nobody_writes(files: SourceFiles, path: Path) -> None:
    quiet = files.quiet()
    assert quiet is not None
    assert (quiet.inode, quiet.size) == (path.stat().st_ino, path.stat().st_size)
    assert quiet == files.quiet()


def test_a_write_within_the_tick_may_be_followed_by_another(
    files: SourceFiles, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = path.stat().st_mtime_ns
    at(monkeypatch, stamp)
    assert files.quiet() is None
    at(monkeypatch, stamp + 1)
    assert files.quiet() is not None
    at(monkeypatch, stamp - 500_000_000)
    assert files.quiet() is None


def test_a_file_from_the_future_is_not_waited_for(
    files: SourceFiles, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, path.stat().st_mtime_ns - 3_600_000_000_000)
    assert files.quiet() is not None


def test_a_hot_journal(files: SourceFiles, app: App, path: Path) -> None:
    app.sql("BEGIN")
    for _ in range(20):
        app.sql("INSERT INTO t VALUES (randomblob(3000))")
    let_tick_pass(path)
    assert files.quiet() is None
    app.sql("ROLLBACK")
    let_tick_pass(path)
    assert files.quiet() is not None


@pytest.mark.parametrize("left", [b"", bytes(100)])
def test_a_journal_that_means_nothing(files: SourceFiles, path: Path, left: bytes) -> None:
    path.with_name("chat.db-journal").write_bytes(left)
    assert files.quiet() is not None


def test_an_exclusive_lock_of_another_process(
    files: SourceFiles, app: App, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.sql("PRAGMA journal_mode=memory")
    app.sql("BEGIN EXCLUSIVE")
    stamp = path.stat().st_mtime_ns
    at(monkeypatch, stamp + 999_000_000)
    assert files.quiet() is None
    # locking_mode=EXCLUSIVE holds it for good: a second without a write has to do.
    at(monkeypatch, stamp + 1_001_000_000)
    assert files.quiet() is not None
    at(monkeypatch, stamp + 999_000_000)
    app.sql("COMMIT")
    assert files.quiet() is not None


def test_two_looks_differ_after_any_write(files: SourceFiles, app: App, path: Path) -> None:
    before = files.quiet()
    app.sql("PRAGMA user_version = 7")
    let_tick_pass(path)
    after = files.quiet()
    assert before is not None
    assert after is not None
    assert before != after
    assert after.change_counter == before.change_counter + 1


def test_a_shorter_file_reads_as_no_database(files: SourceFiles, path: Path) -> None:
    os.truncate(path, 0)
    let_tick_pass(path)
    with pytest.raises(SourceError, match="is empty"):
        files.quiet()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_do_not_pile_up(files: SourceFiles, app: App, path: Path) -> None:
    app.sql("PRAGMA journal_mode=wal")
    app.sql("INSERT INTO t VALUES (1)")
    assert files.session_changed()
    before = descriptors()
    for _ in range(5):
        assert files.open_session()
    assert descriptors() == before + 2
    assert files.has_log()
    assert files.unlinked_ns() is None
    assert not files.session_changed()
    app.close()
    assert files.session_changed()
    unlinked = files.unlinked_ns()
    assert unlinked is not None
    assert unlinked <= time.time_ns()
    assert files.inodes()[0] == path.stat().st_ino
    files.close_session()
    assert files.inodes()[1] == 0
    assert descriptors() == before
