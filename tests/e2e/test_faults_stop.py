"""The end with a network that is dead: within the drain deadline; the next start goes on."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from signal import SIGTERM

import pytest

from tests.e2e.application import Application
from tests.e2e.faulty import Faulty, Stopwatch, faulty, told
from tests.e2e.process import Zygote
from tests.support.servers import S3Server

DRAIN = 2.0
MARGIN = 8.0  # 2 where nothing else runs; a request alone may take 60
LONG_AGO = 1_700_000_000_000


@pytest.fixture
def site(application: Application, seaweedfs: S3Server, quick: Zygote) -> Iterator[Faulty]:
    application.site.drain = f"{DRAIN:.0f}s"
    with faulty(application, seaweedfs, quick) as site:
        yield site


def test_a_shipment_that_hangs(site: Faulty) -> None:
    with site.running() as daemon:
        site.site.wait_stored(site.application.truth())
        site.proxy.set(hang=True)
        site.application.post("it waits")
        told(daemon, "target.slow", "put ")
        stopwatch = Stopwatch()
        assert daemon.end().code == 0
        stopwatch.assert_within(DRAIN + MARGIN, "the end")
    site.proxy.clear()
    with site.running():
        site.assert_whole()


def test_a_first_snapshot_that_hangs(site: Faulty) -> None:
    site.application.post("a large one" * 100_000)
    site.proxy.set(hang=True, only="PUT .*packs/")
    with site.running() as daemon:
        told(daemon, "target.slow", "packs/")
        site.proxy.set(hang=True, only="")
        stopwatch = Stopwatch()
        assert daemon.end().code == 0
        stopwatch.assert_within(DRAIN + MARGIN, "the end")
    site.proxy.clear()
    with site.running():
        site.assert_whole()


@pytest.mark.parametrize("job", ["drill s3", "prune s3", "snapshot s3"])
def test_a_job_that_hangs(site: Faulty, job: str) -> None:
    with site.running() as daemon:
        site.site.wait_stored(site.application.truth())
        assert daemon.end().code == 0
    site.application.post("something new")
    with closing(sqlite3.connect(site.site.state_dir / "chat" / "state.db")) as state, state:
        state.execute("UPDATE job SET last_ms = ? WHERE name = ?", (LONG_AGO, job))
    only = {"drill s3": "selftest", "prune s3": "GET .*tombstones", "snapshot s3": "packs|leases"}[job]
    site.proxy.set(hang=True, only=only)
    with site.running() as daemon:
        while not site.proxy.counts()["faults"]:
            assert daemon.process.poll() is None
        site.proxy.set(hang=True, only="")
        stopwatch = Stopwatch()
        assert daemon.end().code == 0
        stopwatch.assert_within(DRAIN + MARGIN, "the end")
    site.proxy.clear()
    with site.running():
        site.assert_whole()


def test_the_second_signal(site: Faulty) -> None:
    site.site.drain = "10m"
    site.site.configure()
    with site.running() as daemon:
        site.site.wait_stored(site.application.truth())
        site.proxy.set(hang=True)
        site.application.post("it waits")
        told(daemon, "target.slow", "put ")
        daemon.send(SIGTERM)
        daemon.wait_for("daemon.stopping")
        stopwatch = Stopwatch()
        assert daemon.end().code == 0
        stopwatch.assert_within(MARGIN, "the end")
    site.proxy.clear()
    with site.running():
        site.assert_whole()
