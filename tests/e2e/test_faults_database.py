"""The README's table of faults, the rows about the application's database."""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.application import Application
from tests.e2e.faulty import TOLD_WITHIN, Stopwatch, status_of, told
from tests.e2e.process import Daemon, Zygote, poll, running
from tests.e2e.support import Site
from tests.torture.preload import Layer

ROWS = 50


@pytest.fixture
def daemon(application: Application) -> Iterator[Daemon]:
    for number in range(ROWS):
        application.post(f"message {number}")
    with running(application.site.config) as daemon:
        application.site.wait_stored(application.truth())
        yield daemon
        assert daemon.end().code == 0


def files(database: Path) -> list[Path]:
    """The database with its -wal and -shm."""
    return [path for path in database.parent.iterdir() if path.name.startswith(database.name)]


def lost(daemon: Daemon, site: Site, quick: Zygote, sentence: str) -> None:
    """The log and the status name it, soon."""
    stopwatch = Stopwatch()
    told(daemon, "source.lost", sentence)
    status = poll(lambda: (s := status_of(site, quick))["state"] == "failing" and s, "status says so")
    stopwatch.assert_within(TOLD_WITHIN, "telling it")
    assert sentence in status["error"]


def assert_kept_again(application: Application, quick: Zygote) -> None:
    """It goes on without anyone's help: what is there now is stored, and can be restored."""
    application.site.wait_stored(application.truth())
    assert application.restored(quick) == application.truth().read_bytes()
    poll(lambda: status_of(application.site, quick)["state"] == "ok", "status is well")


def test_deleted(application: Application, daemon: Daemon, quick: Zygote) -> None:
    site, kept = application.site, application.truth().read_bytes()
    application.connection.close()
    application.database.unlink()
    lost(daemon, site, quick, f"{application.database} does not exist")
    assert application.restored(quick) == kept, "what was stored stays"
    with closing(sqlite3.connect(application.database)) as other:
        other.execute("CREATE TABLE another (a)")
    assert_kept_again(application, quick)


def test_moved_and_moved_back(application: Application, daemon: Daemon, quick: Zygote) -> None:
    application.connection.close()
    away = application.scratch / "away.db"
    application.database.rename(away)
    lost(daemon, application.site, quick, f"{application.database} does not exist")
    away.rename(application.database)
    application.connection = sqlite3.connect(application.database, isolation_level=None)
    application.post("after it came back")
    assert_kept_again(application, quick)
    application.connection.close()


def test_replaced(application: Application, daemon: Daemon, quick: Zygote) -> None:
    before, kept = application.site.state(), application.truth().read_bytes()
    assert before is not None
    assert before.chain is not None
    application.connection.close()
    other = application.scratch / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE other (a)")
    for path in files(application.database):
        path.unlink()
    other.rename(application.database)
    stopwatch = Stopwatch()
    told(daemon, "source.replaced")
    stopwatch.assert_within(TOLD_WITHIN, "telling it")
    assert_kept_again(application, quick)
    assert application.restored(quick, "--seq", before.chain.seq) == kept, "what was stored stays"


def test_restored_from_an_older_backup(application: Application, daemon: Daemon, quick: Zygote) -> None:
    older = shutil.copy(application.truth(), application.scratch / "older.db")
    application.post("what the backup does not have")
    application.site.wait_stored(application.truth())
    before = application.site.state()
    newer = application.truth().read_bytes()
    application.connection.close()
    for path in files(application.database):
        path.unlink()
    shutil.copy(older, application.database)
    assert_kept_again(application, quick)
    assert before is not None
    assert before.chain is not None
    seq = ("--seq", before.chain.seq, "--generation", before.chain.generation)
    assert application.restored(quick, *seq) == newer, "the newer state stays as well"
    told(daemon, "source.replaced")
    application.connection = sqlite3.connect(application.database, isolation_level=None)
    application.post("and on")
    assert_kept_again(application, quick)
    application.connection.close()


def test_unreadable(application: Application, quick: Zygote) -> None:
    """Permissions hinder root not at all: the daemon's system calls are made to fail."""
    layer = Layer.build(application.scratch)
    if layer is None:
        pytest.skip("there is no C compiler here")
    layer.fail(application.database, reading=errno.EACCES, opening=errno.EACCES)
    with running(application.site.config, env=layer.environ) as daemon:
        lost(daemon, application.site, quick, f"{application.database} cannot be read")
        layer.mend()
        assert_kept_again(application, quick)
        assert daemon.end().code == 0
