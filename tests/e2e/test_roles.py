"""A host that only writes, and one where deleting and reading have credentials of their own."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from syncd.state import STATE_FILE, Job, note_job
from syncd.store.iam import Role, role_policy
from tests.e2e.process import Zygote, assert_refused, running, succeeded
from tests.e2e.support import Site, keep_truth
from tests.support.iam import as_user
from tests.support.servers import BUCKET, S3Server, s3_environ

ROLES = "\n[targets.bucket.pruner]\nprofile = 'pruner'\n\n[targets.bucket.restorer]\nprofile = 'restorer'"


@pytest.fixture(scope="module")
def env(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Profiles of three users, each with what `syncd policy` prints for it, in the usual file."""
    path = tmp_path_factory.mktemp("aws") / "credentials"
    with path.open("w") as file:
        for role in Role:
            user = as_user(seaweedfs, f"e2e-{role}", role_policy(role, BUCKET, "roles-e2e/", ["chat"]))
            file.write(f"[{role}]\n")
            file.writelines(f"{name.lower()} = {value}\n" for name, value in user.items())
    kept = {name: value for name, value in s3_environ().items() if "KEY" not in name}
    return kept | {"AWS_SHARED_CREDENTIALS_FILE": str(path)}


@pytest.fixture
def site(tmp_path: Path, seaweedfs: S3Server) -> Iterator[Site]:
    database = tmp_path / "app" / "chat.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (body)")
        yield Site(tmp_path / "site", {"chat": database}, {"bucket": body(seaweedfs)})


def body(seaweedfs: S3Server) -> str:
    url = f'url = "s3://{BUCKET}/roles-e2e"\nendpoint_url = "{seaweedfs.endpoint_url}"'
    return f'{url}\nprofile = "writer"'


def jobs(quick: Zygote, site: Site, env: dict[str, str]) -> dict[str, tuple[bool, str]]:
    """Have prune and drill run once, and what came of them."""
    for name in ("prune bucket", "drill bucket"):
        note_job(site.state_dir / "chat" / STATE_FILE, Job(name, 1, ok=True, detail="long ago"))
    quick("run", "--once", "--config", site.config, env=env)
    report = succeeded(quick("status", "--json", "--config", site.config)).json
    found = report["databases"]["chat"]["jobs"]
    return {
        role: (found[f"{role} bucket"]["ok"], found[f"{role} bucket"]["detail"])
        for role in ("prune", "drill")
    }


def test_each_role_with_its_own(
    site: Site, env: dict[str, str], quick: Zygote, seaweedfs: S3Server, tmp_path: Path
) -> None:
    with running(site.config, env=env) as daemon:
        daemon.wait_for("daemon.ready")
        truth = keep_truth(site.databases["chat"], tmp_path / "truth", "one")
        site.wait_stored(truth, "bucket")
        succeeded(quick("snapshot", "chat", "--config", site.config, env=env))
        assert daemon.end().code == 0

    # The writer alone: it says in `status` which credentials are missing, and nothing else stops.
    found = jobs(quick, site, env)
    for job, role in (("prune", "pruner"), ("drill", "restorer")):
        ok, detail = found[job]
        assert not ok
        assert f"[targets.bucket.{role}]" in detail
        assert f"`syncd policy {role}`" in detail
    assert 'schedule = ""' in found["prune"][1]
    to = tmp_path / "restored.db"
    restore = ("restore", "chat", "--to", to, "--config", site.config, *site.kit_options)
    assert_refused(quick(*restore, env=env), 14, "access denied")
    assert_refused(quick("prune", "chat", "--config", site.config, env=env), 14, "access denied")

    site.targets = {"bucket": body(seaweedfs) + ROLES}
    site.configure()
    assert {job: ok for job, (ok, _) in jobs(quick, site, env).items()} == {"prune": True, "drill": True}
    succeeded(quick("prune", "chat", "--config", site.config, env=env))
    succeeded(quick("verify", "chat", "--config", site.config, *site.kit_options, "--full", env=env))
    succeeded(quick(*restore, env=env))
    assert to.read_bytes() == truth.read_bytes()
