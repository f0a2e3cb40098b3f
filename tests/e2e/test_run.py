"""`syncd run`: one pass, signals, notifications, one daemon per state directory."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from signal import SIGHUP, SIGKILL, SIGTERM

import pytest

from tests.e2e.application import Application
from tests.e2e.process import Zygote, assert_refused, poll, running, succeeded, syncd
from tests.e2e.support import Site, objects


def test_once_stores_everything_and_then_nothing(application: Application, quick: Zygote) -> None:
    site = application.site
    application.post("hello")
    first = syncd("run", "--once", "--config", site.config)
    assert (first.code, first.err) == (0, "")
    assert application.restored(quick) == application.truth().read_bytes()
    before = objects(site.archive)

    succeeded(quick("run", "--once", "--config", site.config))
    assert objects(site.archive) == before

    application.post("again")
    succeeded(quick("run", "--once", "--config", site.config))
    after = objects(site.archive)
    assert {name: after[name] for name in before} == before
    assert sorted(name.split("/")[3] for name in after.keys() - before.keys()) == ["deltas", "epochs"]
    assert application.restored(quick) == application.truth().read_bytes()


def test_one_daemon_per_state_directory(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        daemon.wait_for("daemon.ready")
        for option in ((), ("--once",)):
            outcome = quick("run", "--config", site.config, *option)
            assert_refused(outcome, 19, str(site.state_dir), "in use")
        application.post("the first goes on")
        site.wait_stored(application.truth())
        daemon.end(SIGKILL)
    # The lock ended with its process.
    succeeded(quick("run", "--once", "--config", site.config))


def test_the_first_signal_drains(application: Application, quick: Zygote) -> None:
    site = application.site
    site.max_delay = "1h"  # nothing would go out by itself
    site.configure()
    with running(site.config) as daemon:
        daemon.wait_for("daemon.ready")
        application.post("just before the end")
        outcome = daemon.end()
    assert (outcome.code, outcome.err) == (0, "")
    events = [line["event"] for line in daemon.events()]
    assert events[-1] == "daemon.stopped"
    assert "daemon.stopping" in events
    assert application.restored(quick) == application.truth().read_bytes()
    assert site.archive.stat().st_mode & 0o777 == 0o700


@dataclass(frozen=True, slots=True)
class Silent:
    """A server that accepts and never says a word."""

    listener: socket.socket

    @property
    def target(self) -> str:
        port = self.listener.getsockname()[1]
        return f'url = "s3://bucket/prefix"\nendpoint_url = "http://127.0.0.1:{port}"\ntimeout = "10m"'


@pytest.fixture
def silent() -> Iterator[Silent]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield Silent(listener)


KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}


def add_target(site: Site, name: str, body: str) -> None:
    site.targets = {**site.targets, name: body}
    site.configure()


def test_the_second_signal_ends_at_once(application: Application, silent: Silent, quick: Zygote) -> None:
    site = application.site
    site.drain = "10m"
    add_target(site, "dead", silent.target)
    with running(site.config, env=KEYS) as daemon:
        site.wait_stored(application.truth(), "local")
        connection, _ = silent.listener.accept()
        with connection:
            daemon.send(SIGTERM)
            daemon.wait_for("daemon.stopping")
            poll(lambda: site.stored("local") >= 0, "the other target is drained")
            assert daemon.process.poll() is None, "it drains"
            outcome = daemon.end()
    assert (outcome.code, outcome.err) == (0, "")
    assert application.restored(quick) == application.truth().read_bytes()


def test_the_drain_has_a_deadline(application: Application, silent: Silent) -> None:
    site = application.site
    site.drain = "100ms"
    add_target(site, "dead", silent.target)
    with running(site.config, env=KEYS) as daemon:
        site.wait_stored(application.truth(), "local")
        assert daemon.end().code == 0


def test_a_dead_file_system_keeps_nobody_from_ending(application: Application) -> None:
    # A read from a FIFO that nobody writes to waits like one from a server of NFS that is gone.
    site = application.site
    site.drain = "100ms"
    stuck = application.scratch / "stuck"
    (stuck / "chat").mkdir(parents=True)
    os.mkfifo(stuck / "chat" / ".syncd-probe")
    add_target(site, "stuck", f'url = "{stuck.as_uri()}"')
    with running(site.config) as daemon:
        site.wait_stored(application.truth(), "local")
        assert daemon.end().code == 0
    assert daemon.events()[-1]["event"] == "daemon.stopped"


def test_a_good_configuration_is_read_again(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        second = application.scratch / "second"
        add_target(site, "second", f'url = "{second.as_uri()}"')
        daemon.send(SIGHUP)
        daemon.wait_for("config.reloaded")
        application.post("after the reload")
        site.wait_stored(application.truth(), "local", "second")
        assert daemon.end().code == 0
    options = ("--archive", second.as_uri(), *site.kit_options)
    to = application.scratch / "second.db"
    succeeded(quick("restore", *options, "--to", to))
    assert to.read_bytes() == application.truth().read_bytes()


def test_a_broken_configuration_changes_nothing(application: Application) -> None:
    site = application.site
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        site.config.write_text(site.config.read_text().replace("[stop]", "[stopp]"))
        daemon.send(SIGHUP)
        rejected = daemon.wait_for("config.rejected")
        assert "stopp: unknown key; did you mean stop?" in rejected["error"]
        assert rejected["level"] == "warning"
        application.post("still kept")
        site.wait_stored(application.truth())
        # Fine in itself, but the key that it names has become everybody's.
        site.configure()
        site.signing_key.chmod(0o644)
        daemon.send(SIGHUP)
        assert "others can reach it" in daemon.wait_for("config.rejected", 2)["error"]
        application.post("still kept, with the key as it was")
        site.wait_stored(application.truth())
        # Mended, it is taken.
        site.signing_key.chmod(0o600)
        daemon.send(SIGHUP)
        daemon.wait_for("config.reloaded")
        application.post("kept again")
        site.wait_stored(application.truth())
        assert daemon.end().code == 0


def test_the_service_manager_is_told(application: Application) -> None:
    site = application.site
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = application.scratch.parent / "notify"
        manager.bind(str(address))
        manager.settimeout(30)

        def until(word: str) -> list[str]:
            said = [manager.recv(4096).decode()]
            while word not in said[-1].splitlines():
                said.append(manager.recv(4096).decode())
            return said

        env = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "100000"}
        with running(site.config, env=env) as daemon:
            said = until("READY=1")
            assert site.stored("local") >= 0, "ready means that a position is stored"
            assert said[-1].splitlines() == ["READY=1", "STATUS=keeping chat"]
            until("WATCHDOG=1")
            daemon.send(SIGHUP)
            until("RELOADING=1")
            until("READY=1")
            daemon.send(SIGTERM)
            until("STOPPING=1")
            assert daemon.end().code == 0
