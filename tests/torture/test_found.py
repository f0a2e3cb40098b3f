"""What the torture found, each once more by itself, on a real daemon."""

import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from syncd.log import Event
from tests.campaigns.rig import Daemon, Depot, Rig

_SECONDS = 120.0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    database = tmp_path / "application" / "chat.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("CREATE TABLE t (a)")
    return Rig.make(tmp_path, database, Depot(), max_delay="50ms")


@pytest.fixture
def daemon(rig: Rig) -> Iterator[Daemon]:
    with Daemon(rig) as daemon:
        assert daemon.wait_for(Event.DAEMON_READY, _SECONDS)
        yield daemon


@pytest.fixture
def write(rig: Rig) -> Iterator[Callable[[int], None]]:
    """One transaction with so many bytes."""
    with closing(sqlite3.connect(rig.database, isolation_level=None)) as conn:

        def one(size: int) -> None:
            conn.execute("INSERT INTO t VALUES (randomblob(?))", (size,))

        yield one


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _SECONDS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_stopped_process_is_named(rig: Rig, daemon: Daemon) -> None:
    assert rig.report()["daemon"] == "running"
    daemon.process.send_signal(signal.SIGSTOP)
    assert rig.report()["daemon"] == "not answering"
    daemon.process.send_signal(signal.SIGCONT)
    wait(lambda: bool(rig.report()["daemon"] == "running"))


def test_a_deleted_state_is_noticed_and_made_anew(
    rig: Rig, daemon: Daemon, write: Callable[[int], None]
) -> None:
    before = rig.status()["generation"]
    for path in (rig.directory / "syncd-state").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert daemon.wait_for(Event.STATE_FAILED, _SECONDS)
    assert "was deleted or replaced" in daemon.of(Event.STATE_FAILED)[0]["error"]
    write(100)
    wait(lambda: rig.report()["daemon"] == "running" and rig.status()["generation"] not in {None, before})
    wait(rig.is_level)
    assert rig.run("run", "--once", "--config", str(rig.config)).returncode == 19, "the lock is held again"
    assert daemon.stop() == 0
    assert not (rig.directory / "daemon.err").read_text()


def test_without_memory_a_database_fails_and_comes_back(
    rig: Rig, daemon: Daemon, write: Callable[[int], None]
) -> None:
    pid = daemon.process.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + (1 << 20), -1))
    write(24 << 20)
    assert daemon.wait_for(Event.DATABASE_FAILED, _SECONDS)
    failed = daemon.of(Event.DATABASE_FAILED)[0]
    assert "Traceback" in failed["exception"]
    assert rig.status()["state"] == "failing"
    resource.prlimit(pid, resource.RLIMIT_AS, (-1, -1))
    wait(lambda: bool(rig.status()["state"] == "ok" and rig.is_level()))
    assert daemon.stop() == 0
    assert not (rig.directory / "daemon.err").read_text()
