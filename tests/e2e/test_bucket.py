"""Buckets: there and back, and all that can be wrong with one, against a real server."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.store import open_store
from tests.e2e.process import Zygote, assert_refused, partials, running, succeeded
from tests.e2e.support import Site, keep_truth
from tests.support.damage import flipped
from tests.support.servers import BUCKET, S3Server, free_ports, s3_environ


@dataclass(frozen=True, slots=True)
class Bucket:
    """A site whose only target is a bucket that has its database."""

    site: Site
    endpoint: str
    truth: bytes


@pytest.fixture(scope="module")
def bucket(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    directory = tmp_path_factory.mktemp("bucket")
    database = directory / "chat.db"
    endpoint = seaweedfs.endpoint_url
    target = f'url = "s3://{BUCKET}/kept"\nendpoint_url = "{endpoint}"'
    site = Site(directory / "site", {"chat": database}, {"bucket": target})
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (body)")
        with running(site.config, env=s3_environ()) as daemon:
            daemon.wait_for("daemon.ready")
            application.execute("INSERT INTO message VALUES ('one')")
            truth = keep_truth(database, directory / "truth", "one")
            site.wait_stored(truth)
            assert daemon.end().code == 0
    return Bucket(site, endpoint, truth.read_bytes())


def test_there_and_back(bucket: Bucket, tmp_path: Path, quick: Zygote) -> None:
    site, env = bucket.site, s3_environ()
    configured = ("chat", "--config", site.config)
    bare = ("--archive", f"s3://{BUCKET}/kept", "--endpoint-url", bucket.endpoint)
    for number, where in enumerate((configured, bare, (*bare, "chat"))):
        to = tmp_path / f"{number}.db"
        succeeded(quick("restore", *where, *site.kit_options, "--to", to, env=env))
        assert to.read_bytes() == bucket.truth
    (generation,) = succeeded(quick("log", *configured, "--json", env=env)).json
    assert [entry["kind"] for entry in generation["entries"]] == ["snapshot", "deltas"]


def test_verified_and_drilled_and_then_tampered_with(bucket: Bucket, tmp_path: Path, quick: Zygote) -> None:
    """Every kind of object in turn is removed, cut, flipped or another one's, in a copy of the archive."""
    site, env = bucket.site, s3_environ()
    configured = ("chat", "--config", site.config, *site.kit_options)
    succeeded(quick("verify", *configured, "--full", env=env))
    succeeded(quick("drill", *configured, "--scratch", tmp_path, env=env))
    succeeded(quick("drill", "chat", "--config", site.config, "--self-test", "--scratch", tmp_path, env=env))
    place = f"s3://{BUCKET}/copy"
    held = asyncio.run(copied(bucket, f"s3://{BUCKET}/kept", place, None))
    other = {name.split("/")[-2]: raw for name, raw in held.items()}
    for name, raw in held.items():
        kind = name.split("/")[-2]
        for damaged in (
            None,
            raw[: len(raw) // 2],
            flipped(raw, -9),
            other["epochs" if kind != "epochs" else "packs"],
        ):
            if kind == "deltas" and damaged is None:
                continue  # the only bundle: what is left is an archive that ends there
            asyncio.run(copied(bucket, f"s3://{BUCKET}/kept", place, (name, damaged)))
            where = ("chat", "--archive", place, "--endpoint-url", bucket.endpoint, *site.kit_options)
            done = quick("verify", *where, "--full", "--json", env=env)
            named = {finding["object"] for finding in done.json[0]["findings"]}
            assert (done.code, named) == (15, {name.removeprefix("chat/")})
    assert list(tmp_path.iterdir()) == []


async def copied(
    bucket: Bucket, source: str, to: str, change: tuple[str, bytes | None] | None
) -> dict[str, bytes]:
    """Copy the archive anew with one object changed (or left out); returns what the source has."""
    env = {name: value for name, value in s3_environ().items() if name.startswith("AWS_")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        first = open_store(source, endpoint_url=bucket.endpoint)
        second = open_store(to, endpoint_url=bucket.endpoint)
        try:
            held = {
                info.name: await first.get(info.name) async for info in first.objects("chat/generations/")
            }
            for info in [info async for info in second.objects("chat/")]:
                await second.delete(info.name)
            wanted = dict(held)
            if change is not None:
                name, raw = change
                wanted.pop(name)
                if raw is not None:
                    wanted[name] = raw
            for name, raw in wanted.items():
                await second.put(name, raw)
        finally:
            await first.close()
            await second.close()
    return held


@dataclass(frozen=True, slots=True)
class Mistake:
    """`env` is added to the right credentials; `reachable` says whether a server is behind the endpoint."""

    name: str
    code: int
    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = f"s3://{BUCKET}/kept"
    reachable: bool = True


NOBODY = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
FORGED = {"AWS_SECRET_ACCESS_KEY": "forged"}
MISSING = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
MISTAKES = (
    Mistake("no bucket", 14, ("s3://none", "bucket does not exist"), url="s3://none/kept"),
    Mistake("unknown key", 14, (BUCKET, "access key is unknown"), NOBODY),
    Mistake("wrong secret", 14, (BUCKET, "secret does not belong"), FORGED),
    Mistake("no credentials", 14, (BUCKET, "no usable credentials"), MISSING),
    Mistake("unreachable", 13, (BUCKET, "cannot connect"), reachable=False),
)


@pytest.mark.parametrize("command", ["run", "restore", "log"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_what_can_be_wrong(
    bucket: Bucket, tmp_path: Path, quick: Zygote, command: str, mistake: Mistake
) -> None:
    endpoint = bucket.endpoint
    if not mistake.reachable:
        (port,) = free_ports(1)
        endpoint = f"http://127.0.0.1:{port}"
    target = f'url = "{mistake.url}"\nendpoint_url = "{endpoint}"'
    site = Site(tmp_path / "site", dict(bucket.site.databases), {"bucket": target})
    to = tmp_path / "restored.db"
    arguments = {
        "run": ("--once",),
        "restore": ("chat", *bucket.site.kit_options, "--to", to),
        "log": ("chat",),
    }[command]
    outcome = quick(command, "--config", site.config, *arguments, env=s3_environ() | dict(mistake.env))
    assert_refused(outcome, mistake.code, *mistake.words)
    assert "forged" not in outcome.err + outcome.out
    assert not to.exists()
    assert partials(tmp_path) == []
    if command == "run":
        # It is captured, waits for the target, and `status` says why.
        status = succeeded(quick("status", "--config", site.config, "--json")).json["databases"]["chat"]
        assert status["captured"]["seq"] == 0
        assert status["targets"]["bucket"]["state"] == "failing"
        assert mistake.words[-1] in status["targets"]["bucket"]["error"]
