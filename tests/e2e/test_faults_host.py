"""The README's table of faults, the rows about the host: state directory, clock, the process itself."""

import copy
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from tests.e2e.application import Application
from tests.e2e.faulty import TOLD_WITHIN, Stopwatch, faulty, status_of, told
from tests.e2e.process import Zygote, assert_refused, poll, running, syncd
from tests.e2e.support import Site
from tests.support.servers import S3Server
from tests.torture.mounts import Mount
from tests.torture.preload import Layer

MIB = 1 << 20
YEARS = 5 * 365 * 86_400


def assert_goes_on(application: Application, quick: Zygote) -> None:
    """What is posted now is stored, and can be restored."""
    application.post("it goes on")
    application.site.wait_stored(application.truth())
    assert application.restored(quick) == application.truth().read_bytes()


@pytest.fixture
def disk(application: Application) -> Iterator[Mount]:
    """The state directory, on a file system of its own."""
    application.site.state_dir.mkdir(mode=0o700)
    with Mount.over(application.site.state_dir, 64 * MIB) as mount:
        if not mount.real:
            pytest.skip("this process may not mount a file system")
        yield mount


def test_a_disk_that_is_full(application: Application, disk: Mount, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        disk.fill(64 * 1024)
        stopwatch = Stopwatch()
        application.connection.execute("INSERT INTO message VALUES (hex(randomblob(1000000)))")
        told(daemon, "state.failed")
        status = poll(lambda: (s := status_of(site, quick))["state"] == "failing" and s, "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert "disk is full" in status["error"]
        disk.widen()
        assert_goes_on(application, quick)
        poll(lambda: status_of(site, quick)["state"] == "ok", "status is well")
        assert daemon.end().code == 0


def test_a_state_directory_that_is_read_only(application: Application, disk: Mount) -> None:
    site = application.site
    assert syncd("run", "--once", "--config", site.config).code == 0
    assert disk.write_protect(protected=True)
    assert_refused(syncd("run", "--config", site.config), 19, str(site.state_dir))
    assert disk.write_protect(protected=False)
    assert syncd("run", "--once", "--config", site.config).code == 0


def test_a_state_directory_that_is_deleted(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        shutil.rmtree(site.state_dir)
        stopwatch = Stopwatch()
        told(daemon, "state.failed", "was deleted or replaced")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert_goes_on(application, quick)
        assert daemon.end().code == 0


def test_a_state_that_is_set_back(application: Application, quick: Zygote) -> None:
    site = application.site
    older = application.scratch / "state"
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        assert daemon.end().code == 0
    shutil.copytree(site.state_dir, older)
    with running(site.config) as daemon:
        application.post("the copy does not know this")
        site.wait_stored(application.truth())
        assert daemon.end().code == 0
    shutil.rmtree(site.state_dir)
    shutil.copytree(older, site.state_dir)
    application.post("nor this")
    with running(site.config) as daemon:
        told(daemon, "daemon.started")
        stopwatch = Stopwatch()
        told(daemon, "target.conflicted")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert_goes_on(application, quick)
        assert daemon.end().code == 0


def test_a_state_that_is_copied_to_a_second_host(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        assert daemon.end().code == 0
    database = application.scratch / "second.db"
    shutil.copy(application.truth(), database)
    second = replace_site(site, application.scratch / "second", database)
    with running(site.config) as first, running(second.config) as other:
        stopwatch = Stopwatch()
        application.post("only here")
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("INSERT INTO message VALUES ('only there')")
        events = poll(
            lambda: [e for d in (first, other) for e in d.events() if e["event"] == "target.conflicted"],
            "one of them is told",
        )
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert (
            "was written by another daemon (this one goes on in a generation of its own" in events[0]["error"]
        )
        site.wait_stored(application.truth())
        second.wait_stored(database)
        for each, truth in ((site, application.truth()), (second, database)):
            status = status_of(each, quick)
            found = application.restored(quick, "--generation", status["generation"])
            assert found == truth.read_bytes()
        assert first.end().code == 0
        assert other.end().code == 0


def replace_site(site: Site, directory: Path, database: Path) -> Site:
    """The same keys and archive, the state copied, and a database of its own."""
    shutil.copytree(site.directory, directory, ignore=shutil.ignore_patterns("archive", "daemon-*", "lock"))
    text = site.config.read_text().replace(str(site.state_dir), str(directory / "state"))
    (directory / "syncd.toml").write_text(text.replace(str(site.databases["chat"]), str(database)))
    copy_of = copy.copy(site)
    copy_of.directory = directory
    return copy_of


def test_an_archive_that_is_set_back(application: Application, quick: Zygote) -> None:
    site = application.site
    older = application.scratch / "archive"
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        shutil.copytree(site.archive, older)
        application.post("the copy does not know this")
        site.wait_stored(application.truth())
        assert daemon.end().code == 0
    shutil.rmtree(site.archive)
    older.rename(site.archive)
    with running(site.config) as daemon:
        told(daemon, "daemon.started")
        stopwatch = Stopwatch()
        told(daemon, "target.rolled_back")
        job = poll(lambda: status_of(site, quick)["jobs"].get("look local"), "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert not job["ok"]
        assert_goes_on(application, quick)
        assert daemon.end().code == 0


def test_a_disk_of_a_target_that_is_taken_away(application: Application, quick: Zygote) -> None:
    site = application.site
    disk, away = application.scratch / "disk", application.scratch / "away"
    disk.mkdir()
    site.targets = {**site.targets, "disk": f'url = "{(disk / "archive").as_uri()}"'}
    site.configure()
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        disk.rename(away)
        stopwatch = Stopwatch()
        application.post("it waits")
        told(daemon, "target.failed", f"{disk} does not exist", "mount the disk")
        targets = poll(
            lambda: (t := status_of(site, quick)["targets"])["disk"]["state"] == "failing" and t, "status"
        )
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert targets["local"]["state"] == "ok"
        away.rename(disk)
        told(daemon, "target.recovered")
        site.wait_stored(application.truth())
        assert daemon.end().code == 0


@pytest.mark.parametrize("seconds", [YEARS, -YEARS], ids=["ahead", "back"])
def test_a_clock_that_jumps_by_years(application: Application, quick: Zygote, seconds: int) -> None:
    site = application.site
    layer = Layer.build(application.scratch)
    if layer is None:
        pytest.skip("there is no C compiler here")
    with running(site.config, env=layer.environ) as daemon:
        site.wait_stored(application.truth())
        layer.skew(seconds)
        stopwatch = Stopwatch()
        assert round(told(daemon, "clock.jumped")["by_ms"] / 1000) == pytest.approx(seconds, abs=60)
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert_goes_on(application, quick)
        layer.skew(0)
        assert_goes_on(application, quick)
        assert daemon.end().code == 0


def test_a_clock_that_the_store_does_not_share(
    application: Application, seaweedfs: S3Server, quick: Zygote
) -> None:
    layer = Layer.build(application.scratch)
    if layer is None:
        pytest.skip("there is no C compiler here")
    with faulty(application, seaweedfs, quick) as site, site.running(layer.environ) as daemon:
        site.site.wait_stored(application.truth())
        layer.skew(YEARS)
        stopwatch = Stopwatch()
        application.post("it waits")
        told(daemon, "target.failed", "this host's clock is wrong")
        poll(lambda: "this host's clock is wrong" in site.target()["error"], "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        layer.skew(0)
        told(daemon, "target.recovered")
        site.assert_whole()


def test_a_daemon_that_is_killed(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        application.post("in the middle of it")
        daemon.end(SIGKILL)
    assert status_of_daemon(site, quick) == "stopped"
    application.post("nobody saw this")
    with running(site.config) as daemon:
        assert_goes_on(application, quick)
        assert daemon.end().code == 0


def test_a_daemon_that_is_stopped(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        daemon.send(SIGSTOP)
        stopwatch = Stopwatch()
        assert status_of_daemon(site, quick) == "not answering"
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        for number in range(20):
            application.post(f"meanwhile {number}")
        application.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        application.post("and behind a checkpoint")
        daemon.send(SIGCONT)
        assert_goes_on(application, quick)
        assert daemon.end().code == 0


def status_of_daemon(site: Site, quick: Zygote) -> str:
    return str(quick("status", "--json", "--config", site.config).json["daemon"])
