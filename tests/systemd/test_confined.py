"""syncd under its unit's restrictions: a daemon's whole life, and that the restrictions are there."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.process import environment, running, succeeded, syncd
from tests.e2e.support import Site, keep_truth
from tests.support.servers import BUCKET, S3Server, s3_environ
from tests.systemd.confine import UID, allowed_calls, service

UNIT = Path(__file__).parents[2] / "systemd" / "syncd.service"
CONFINED = (sys.executable, str(Path(__file__).with_name("confine.py")), str(UNIT))

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("systemd-analyze") is None, reason="needs root and systemd-analyze"
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that everybody may pass to, which pytest's own are not."""
    with TemporaryDirectory(prefix="syncd-confined-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def give(path: Path) -> None:
    """All of it to the service's user."""
    for each in (path, *path.rglob("*")):
        os.chown(each, UID, UID)


def test_its_whole_life(directory: Path, seaweedfs: S3Server) -> None:
    """Watching, capturing, shipping to a directory and a bucket, a snapshot that was asked for, the drain."""
    database = directory / "app" / "chat.db"
    database.parent.mkdir(mode=0o755)
    home = directory / "site"
    site = Site(
        home,
        {"chat": database},
        {
            "local": f'url = "{(home / "archive").as_uri()}"',
            "bucket": f'url = "s3://{BUCKET}/confined"\nendpoint_url = "{seaweedfs.endpoint_url}"',
        },
    )
    site.state_dir.mkdir(mode=0o700)
    give(home)
    confined = (*CONFINED, str(home))
    truth = database
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (body)")
        for number in range(2):  # the second daemon finds the state of the first
            with running(site.config, env=s3_environ(), command=confined) as daemon:
                daemon.wait_for("daemon.ready")
                application.execute("INSERT INTO message VALUES (?)", (f"number {number}",))
                truth = keep_truth(database, directory / "truth", str(number))
                site.wait_stored(truth, "local", "bucket")
                succeeded(syncd("snapshot", "chat", "--config", site.config, env=s3_environ()))
                assert daemon.end().code == 0, daemon.errors.read_text()
    for target in ("local", "bucket"):
        to = directory / f"{target}.db"
        options = ("--from", target, "--config", site.config, *site.kit_options)
        succeeded(syncd("restore", "chat", "--to", to, *options, env=s3_environ()))
        assert to.read_bytes() == truth.read_bytes()


def test_what_it_cannot_do(directory: Path) -> None:
    mine = directory / "mine"
    mine.mkdir()
    give(mine)
    probe = Path(__file__).with_name("probe_confined.py")
    done = subprocess.run(
        [*CONFINED[:3], str(mine), "--exec", str(probe), str(mine)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "write where it may": "done",
        "write beside itself": "EROFS",
        "write to /etc": "EROFS",
        "netlink": "EAFNOSUPPORT",
        "unix": "done",
        "memory that is written and run": "EPERM",
        "be nice to itself": "EPERM",
        "become root": "EPERM",
        "namespace": "EPERM",
        "mount": "EPERM",
        "kernel's memory": "ENOENT",
    }


def test_a_filter_is_what_systemd_would_make_of_it() -> None:
    calls = allowed_calls(service(UNIT))
    assert {"read", "openat", "fsync", "inotify_add_watch", "socket", "epoll_wait", "flock"} <= calls
    assert (
        not {"mount", "ptrace", "setpriority", "chown", "setuid", "bpf", "reboot", "sched_setaffinity"}
        & calls
    )
