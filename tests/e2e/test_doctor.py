"""The doctor on a host and against real servers, good and bad."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from syncd.store.iam import Role, role_policy
from tests.e2e.process import Outcome, Zygote, succeeded
from tests.e2e.support import Site
from tests.support.iam import as_user
from tests.support.servers import BUCKET, S3Server, s3_environ


@pytest.fixture
def site(tmp_path: Path, seaweedfs: S3Server, request: pytest.FixtureRequest) -> Iterator[Site]:
    database = tmp_path / "app" / "chat.db"
    database.parent.mkdir()
    place = f"s3://{BUCKET}/{request.node.originalname}"
    body = f'url = "{place}"\nendpoint_url = "{seaweedfs.endpoint_url}"'
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (body)")
        database.chmod(0o600)
        yield Site(tmp_path / "site", {"chat": database}, {"bucket": body})


def bad(outcome: Outcome) -> dict[str, str]:
    """What is not ok, and how bad it is."""
    return {each["what"]: each["level"] for each in json.loads(outcome.out) if each["level"] != "ok"}


def found(outcome: Outcome) -> str:
    return "\n".join(f"{each['level']} {each['subject']}: {each['what']}" for each in json.loads(outcome.out))


def doctor(quick: Zygote, site: Site, env: dict[str, str] | None = None) -> Outcome:
    return quick("doctor", "chat", "--json", "--config", site.config, env=s3_environ() | (env or {}))


def test_with_all_permissions(site: Site, quick: Zygote) -> None:
    succeeded(quick("run", "--once", "--config", site.config, env=s3_environ()))
    done = doctor(quick, site)
    assert done.code == 3, done
    levels = bad(done)
    assert set(levels.values()) == {"warning"}
    assert any("may overwrite and delete" in what for what in levels)
    assert any("nobody ever checked" in what for what in levels)
    text = found(done)
    for words in ("creates once", "compares checksums", "nobody without credentials", "its clock"):
        assert f"ok bucket: {words}" in text
    assert "journal mode WAL" in text


def test_with_the_writers_policy(
    site: Site, quick: Zygote, seaweedfs: S3Server, request: pytest.FixtureRequest
) -> None:
    prefix = f"{request.node.originalname}/"
    env = as_user(seaweedfs, "doctored", role_policy(Role.WRITER, BUCKET, prefix, ["chat"]))
    succeeded(quick("run", "--once", "--config", site.config, env=s3_environ() | env))
    done = doctor(quick, site, env)
    assert done.code == 3, done
    text = "\n".join(bad(done))
    assert "the writer may overwrite:" in text  # this server does not know s3:if-none-match
    assert "not pruned with these credentials" in text
    assert "neither restored, verified nor drilled" in text


def test_what_is_wrong_on_the_host(site: Site, quick: Zygote) -> None:
    database = site.databases["chat"]
    database.chmod(0o666)
    site.config.chmod(0o666)
    site.signing_key.chmod(0o644)
    done = doctor(quick, site)
    assert done.code == 1
    failures = [what for what, level in bad(done).items() if level == "failure"]
    assert len(failures) == 3, failures


@pytest.mark.parametrize("secret", ["wrong", ""])
def test_a_target_that_refuses(site: Site, quick: Zygote, secret: str) -> None:
    done = doctor(quick, site, {"AWS_SECRET_ACCESS_KEY": secret})
    assert done.code == 1
    assert "failure" in bad(done).values()
    assert "Traceback" not in done.out + done.err


def test_a_bucket_that_is_open_to_all(site: Site, quick: Zygote, seaweedfs: S3Server) -> None:
    everybody = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
            }
        ],
    }
    with closing(seaweedfs.client()) as client:
        client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(everybody))
        try:
            done = doctor(quick, site)
        finally:
            client.delete_bucket_policy(Bucket=BUCKET)
    assert done.code == 1
    assert [what for what, level in bad(done).items() if level == "failure"] == [
        "everybody may list and read there: contents are sealed, names and sizes are not"
    ]


def test_the_table(site: Site, quick: Zygote) -> None:
    done = quick("doctor", "--config", site.config, env=s3_environ())
    assert done.code == 3
    assert done.out.startswith("syncd doctor")
    assert "what to do" in done.out
