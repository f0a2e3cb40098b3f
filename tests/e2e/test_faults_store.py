"""The README's table of faults, the rows about the store: what is told within ten seconds, and the end."""

import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.application import Application
from tests.e2e.faulty import TOLD_WITHIN, Faulty, Stopwatch, faulty, told
from tests.e2e.process import Zygote, assert_refused, poll, running, succeeded, syncd
from tests.support.servers import ACCESS_KEY, SECRET_KEY, S3Server


@pytest.fixture
def site(application: Application, seaweedfs: S3Server, quick: Zygote) -> Iterator[Faulty]:
    application.site.drain = "2s"
    with faulty(application, seaweedfs, quick) as site:
        yield site


@pytest.mark.parametrize(
    ("fault", "event", "state", "sentence"),
    [
        ({"outage": True}, "target.failed", "failing", "cannot connect"),
        ({"hang": True}, "target.slow", "slow", "no answer for 5 s so far"),
        ({"held_ack": 1.0}, "target.slow", "slow", "no answer for 5 s so far"),
        ({"error": 1.0, "codes": [503]}, "target.failed", "failing", "the server answered 503 SlowDown"),
        ({"error": 1.0, "codes": [429]}, "target.failed", "failing", "the server answered 429"),
        ({"error": 1.0, "codes": [500]}, "target.failed", "failing", "the server answered 500"),
        ({"reset": 1.0}, "target.failed", "failing", "connection"),
    ],
    ids=["unreachable", "hangs", "does not acknowledge", "503", "429", "500", "resets"],
)
def test_a_store_that_fails(
    site: Faulty, fault: dict[str, object], event: str, state: str, sentence: str
) -> None:
    with site.running() as daemon:
        site.site.wait_stored(site.application.truth())
        site.proxy.set(**fault)
        stopwatch = Stopwatch()
        site.application.post("it waits")
        line = told(daemon, event, "s3")
        target = poll(lambda: (each := site.target())["state"] == state and each, "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert line["level"] == "warning"
        assert sentence in target["error"]
        assert target["waiting_bytes"] > 0
        site.application.post("capture goes on")
        site.proxy.clear()
        told(daemon, "target.recovered")
        site.assert_whole()
        assert site.target()["state"] == "ok"


def write_credentials(file: Path, secret: str) -> None:
    file.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n")


def test_credentials_that_are_refused(site: Faulty, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    write_credentials(file, "wrong")
    site.env = {name: value for name, value in site.env.items() if "KEY" not in name}
    site.env["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    with site.running() as daemon:
        told(daemon, "daemon.started")
        stopwatch = Stopwatch()
        told(daemon, "target.failed", "the secret does not belong to the access key", "check the access key")
        poll(lambda: "the secret does not belong" in site.target()["error"], "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        write_credentials(file, SECRET_KEY)
        told(daemon, "target.recovered")
        site.assert_whole()


def test_permissions_that_are_taken_away(site: Faulty) -> None:
    with site.running() as daemon:
        site.site.wait_stored(site.application.truth())
        site.proxy.set(error=1.0, codes=[403])
        stopwatch = Stopwatch()
        site.application.post("it waits")
        told(daemon, "target.failed", "refused with 403", "syncd policy writer")
        poll(lambda: "refused with 403" in site.target()["error"], "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        site.proxy.clear()
        told(daemon, "target.recovered")
        site.assert_whole()


def test_a_bucket_that_is_deleted(site: Faulty) -> None:
    bucket = f"faults-{secrets.token_hex(6)}"
    site.url = f"s3://{bucket}/chat"
    site.site.targets = {"s3": f'url = "s3://{bucket}"\nendpoint_url = "{site.proxy.url}"'}
    site.site.configure()
    with closing(site.server.client()) as client, site.running() as daemon:
        told(daemon, "target.failed", "the bucket does not exist", "create it")
        client.create_bucket(Bucket=bucket)
        site.site.wait_stored(site.application.truth())
        for row in client.list_objects_v2(Bucket=bucket)["Contents"]:
            client.delete_object(Bucket=bucket, Key=row["Key"])
        client.delete_bucket(Bucket=bucket)
        stopwatch = Stopwatch()
        site.application.post("it waits")
        told(daemon, "target.failed", "the bucket does not exist", count=2)
        poll(lambda: "the bucket does not exist" in site.target()["error"], "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        client.create_bucket(Bucket=bucket)
        told(daemon, "target.rolled_back")
        told(daemon, "target.recovered")
        site.assert_whole()


def test_a_bundle_that_is_acknowledged_and_not_kept(site: Faulty) -> None:
    """Nobody can know at once; the next snapshot looks, and leads on."""
    with site.running() as daemon:
        site.site.wait_stored(site.application.truth())
        for number in range(4):
            site.proxy.set(lost_put=1.0 if number == 2 else 0.0, only="/deltas/")
            site.application.post(f"number {number}")
            site.site.wait_stored(site.application.truth())
        (lost,) = site.proxy.counts()["lost"]
        stopwatch = Stopwatch()
        succeeded(site.quick("snapshot", "chat", "--config", site.site.config))
        line = told(daemon, "target.lost")
        job = poll(lambda: site.status()["jobs"].get("look s3"), "status says so")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert [lost.endswith(name) for name in line["missing"]] == [True]
        assert not job["ok"]
        assert line["missing"][0] in job["detail"]
        assert site.restored() == site.application.truth().read_bytes()
        site.application.post("afterwards")
        site.assert_whole()


def test_a_file_system_that_hangs(site: Faulty, application: Application, quick: Zygote) -> None:
    """A read from a FIFO that nobody writes to waits like one from a server of NFS that is gone."""
    stuck = application.scratch / "stuck"
    (stuck / "chat").mkdir(parents=True)
    os.mkfifo(stuck / "chat" / ".syncd-probe")
    site.site.targets = {
        "local": f'url = "{site.site.archive.as_uri()}"',
        "stuck": f'url = "{stuck.as_uri()}"',
    }
    site.site.configure()
    with running(site.site.config) as daemon:
        told(daemon, "daemon.started")
        stopwatch = Stopwatch()
        told(daemon, "target.slow", "stuck")
        targets = poll(lambda: (t := site.status()["targets"])["stuck"]["state"] == "slow" and t, "status")
        stopwatch.assert_within(TOLD_WITHIN, "telling it")
        assert "no answer for 5 s so far" in targets["stuck"]["error"]
        application.post("the other goes on")
        site.site.wait_stored(application.truth(), "local")
        stopwatch = Stopwatch()
        assert daemon.end().code == 0
        stopwatch.assert_within(TOLD_WITHIN, "the end")
    assert application.restored(quick) == application.truth().read_bytes()


def test_commands_on_a_file_system_that_hangs(application: Application, quick: Zygote) -> None:
    site, hangs = application.site, "no answer from the file system in time"
    site.targets = {"local": f'url = "{site.archive.as_uri()}"\ntimeout = "1s"'}
    site.configure()
    succeeded(quick("run", "--once", "--config", site.config))
    (epoch,) = site.archive.rglob("epochs/*")
    epoch.unlink()
    os.mkfifo(epoch)
    options = ("chat", "--config", site.config)
    restored = syncd("restore", *options, "--to", application.scratch / "x.db", *site.kit_options)
    assert_refused(restored, 13, hangs)
    verified = syncd("verify", *options)
    assert verified.code == 15
    assert hangs in verified.out
