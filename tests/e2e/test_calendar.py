"""The calendar from outside: asked for, by schedule, and what status says of it."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.application import Application
from tests.e2e.process import Zygote, assert_refused, poll, running, succeeded
from tests.e2e.support import Site, objects

LONG_AGO = 1_700_000_000_000


def jobs(site: Site) -> dict[str, tuple[bool, str]]:
    status = site.state()
    return {} if status is None else {job.name: (job.ok, job.detail) for job in status.jobs}


def make_due(site: Site, *names: str) -> None:
    """As if the jobs had run last long ago."""
    with closing(sqlite3.connect(site.state_dir / "chat" / "state.db")) as state, state:
        for name in names:
            state.execute("UPDATE job SET last_ms = ?, detail = 'long ago' WHERE name = ?", (LONG_AGO, name))


def snapshots(site: Site) -> list[str]:
    return sorted(name for name in objects(site.archive) if "/snapshots/" in name)


def taken(quick: Zygote, site: Site, *options: object) -> list[dict[str, Any]]:
    done = succeeded(quick("snapshot", "chat", "--config", site.config, "--json", *options))
    answer: list[dict[str, Any]] = json.loads(done.out)
    return answer


def test_a_snapshot_is_asked_of_the_daemon(application: Application, quick: Zygote) -> None:
    site = application.site
    with running(site.config) as daemon:
        daemon.wait_for("daemon.ready")
        application.post("something new " * 500)
        site.wait_stored(application.truth())
        (answer,) = taken(quick, site)
        assert (answer["target"], answer["snapshot"]["seq"]) == ("local", 1)
        assert 0 < answer["snapshot"]["changed"] <= answer["snapshot"]["pages"]
        assert taken(quick, site) == [{"target": "local", "snapshot": None}]
        assert_refused(
            quick("snapshot", "chat", "--config", site.config, "--target", "other"), 10, "no target 'other'"
        )
        assert_refused(quick("snapshot", "talk", "--config", site.config), 10, "no database 'talk'")
    assert len(snapshots(site)) == 2
    assert application.restored(quick) == application.truth().read_bytes()


def test_a_snapshot_without_a_daemon_captures_first(application: Application, quick: Zygote) -> None:
    site = application.site
    succeeded(quick("run", "--once", "--config", site.config))
    application.post("nobody saw this")
    (answer,) = taken(quick, site)
    assert answer["snapshot"]["seq"] == 1
    assert application.restored(quick, "--seq", 1) == application.truth().read_bytes()
    application.post("and this")
    (answer,) = taken(quick, site, "--whole")
    assert answer["snapshot"]["changed"] == answer["snapshot"]["pages"]


def test_what_was_missed_is_made_up_for_at_the_start(application: Application, quick: Zygote) -> None:
    site = application.site
    succeeded(quick("run", "--once", "--config", site.config))
    wanted = ("check", "drill local", "prune local", "snapshot local")
    assert sorted(jobs(site)) == sorted(wanted)
    assert {detail for _, detail in jobs(site).values()} == {"not yet"}
    make_due(site, *wanted)
    application.post("new")
    with running(site.config) as daemon:
        daemon.wait_for("daemon.ready")
        poll(
            lambda: all(detail not in {"not yet", "long ago"} for _, detail in jobs(site).values()),
            "every job ran",
        )
        assert all(ok for ok, _ in jobs(site).values())
        assert daemon.end().code == 0
    assert "quick_check found nothing" in jobs(site)["check"][1]
    assert "self-test passed" in jobs(site)["drill local"][1]
    assert not [name for name in objects(site.archive) if "selftest" in name]
    status = json.loads(succeeded(quick("status", "--json", "--config", site.config)).out)
    assert status["databases"]["chat"]["jobs"]["drill local"]["ok"] is True
    assert "self-test passed" in succeeded(quick("status", "--config", site.config)).out.replace("\n", " ")


def test_one_pass_does_what_is_due(application: Application, quick: Zygote) -> None:
    site = application.site
    succeeded(quick("run", "--once", "--config", site.config))
    application.post("new")
    make_due(site, "snapshot local", "prune local")
    succeeded(quick("run", "--once", "--config", site.config))
    assert len(snapshots(site)) == 2
    assert jobs(site)["snapshot local"][1].startswith("seq 1: ")
    assert jobs(site)["prune local"][1].startswith("0 objects deleted")
    assert jobs(site)["drill local"] == (True, "not yet")


def test_damage_in_the_application_s_file_is_noticed(application: Application, quick: Zygote) -> None:
    site = application.site
    application.connection.executescript(
        "CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1), (2), (3); PRAGMA wal_checkpoint(TRUNCATE)"
    )
    application.connection.close()
    raw = bytearray(application.database.read_bytes())
    size = int.from_bytes(raw[16:18])
    for page in range(2, len(raw) // size + 1):  # cell pointers of every other page
        raw[(page - 1) * size + 8 : (page - 1) * size + 10] = b"\xff\xff"
    application.database.write_bytes(raw)
    succeeded(quick("run", "--once", "--config", site.config))
    make_due(site, "check")
    done = quick("run", "--once", "--config", site.config)
    assert done.code == 11
    assert "quick_check" in done.err
    ok, detail = jobs(site)["check"]
    assert (ok, detail.startswith("quick_check: ")) == (False, True)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_drill_by_hand_is_noted(application: Application, quick: Zygote, damaged: bool) -> None:
    site = application.site
    succeeded(quick("run", "--once", "--config", site.config))
    if damaged:
        (pack,) = site.archive.rglob("packs/*")
        pack.write_bytes(pack.read_bytes()[:-1])
    done = quick("drill", "chat", "--config", site.config, *site.kit_options)
    assert done.code == (15 if damaged else 0)
    ok, detail = jobs(site)["drill local"]
    assert ok is not damaged
    assert ("restored seq 0" in detail) is not damaged
