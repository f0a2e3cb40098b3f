"""`syncd status` and `syncd log`: while the daemon runs, when it does not, and when something fails."""

import sqlite3
from contextlib import closing
from pathlib import Path
from signal import SIGKILL
from typing import Any

from syncd.model import format_time
from tests.e2e.conftest import Kept
from tests.e2e.process import Zygote, chatting, poll, running, succeeded
from tests.e2e.support import Site, keep_truth


def status_of(site: Site, quick: Zygote) -> Any:
    return succeeded(quick("status", "--config", site.config, "--json")).json


def test_never_started(tmp_path: Path, quick: Zygote) -> None:
    site = Site(tmp_path / "site", {"chat": tmp_path / "chat.db"})
    nothing: dict[str, object] = {
        "state": "never started",
        "error": "",
        "generation": None,
        "captured": None,
        "targets": {},
        "jobs": {},
    }
    assert status_of(site, quick) == {
        "daemon": "stopped",
        "databases": {"chat": {"path": str(tmp_path / "chat.db")} | nothing},
    }
    assert not site.state_dir.exists(), "looking makes nothing"
    assert "never started" in succeeded(quick("status", "--config", site.config)).out


def test_stopped(kept: Kept, quick: Zygote) -> None:
    status = status_of(kept.site, quick)
    assert status["daemon"] == "stopped"
    chat = status["databases"]["chat"]
    assert list(status["databases"]) == ["chat"]
    captured = chat.pop("captured")
    assert captured.pop("age_ms") > 0
    assert captured == {
        "seq": kept.last.seq,
        "time": kept.last.time,
        "boundary": True,
        "pages": len(kept.last.truth) // 4096,
        "page_size": 4096,
    }
    targets = chat.pop("targets")
    jobs = chat.pop("jobs")
    assert sorted(jobs) == sorted(
        ["check", *(f"{job} {target}" for job in ("drill", "prune", "snapshot") for target in targets)]
    )
    assert jobs["check"]["detail"] == "not yet"  # other tests drill here
    generation = kept.site.generation().name
    assert chat == {"path": str(kept.database), "state": "ok", "error": "", "generation": generation}
    assert list(targets) == ["local", "second"]
    for target in targets.values():
        stored = target.pop("stored")
        assert stored.pop("age_ms") > 0
        assert stored.pop("stored_at") >= kept.last.time
        assert stored == {"seq": kept.last.seq, "time": kept.last.time}
        assert target.pop("url").startswith("file:///")
        assert 0 <= target.pop("snapshot_seq") <= kept.last.seq
        assert target.pop("head").startswith(f"{generation}:{kept.last.seq}:")
        rest = {"waiting_bytes": 0, "error": "", "error_at": None, "beside": "", "given_up": 0}
        assert target == {"state": "ok"} | rest


def test_log(kept: Kept, quick: Zygote) -> None:
    arguments = ("log", "chat", "--config", kept.site.config)
    (generation,) = succeeded(quick(*arguments, "--json")).json
    assert generation["generation"] == kept.site.generation().name
    snapshot, deltas = generation["entries"]
    first = kept.points[0].time
    assert snapshot.pop("bytes") > 0
    assert snapshot == {
        "kind": "snapshot",
        "first_seq": 0,
        "last_seq": 0,
        "first_time": first,
        "last_time": first,
        "objects": 1,
    }
    files = list((kept.site.generation() / "deltas").iterdir())
    assert (deltas["kind"], deltas["first_seq"], deltas["last_seq"]) == ("deltas", 1, kept.last.seq)
    assert (deltas["objects"], deltas["bytes"]) == (len(files), sum(f.stat().st_size for f in files))
    assert first < deltas["first_time"] < deltas["last_time"]
    # Everywhere the same, and with no other key than the kit's, which is public.
    for where in (
        ("chat", "--config", kept.site.config, "--from", "second"),
        ("--archive", kept.site.archive.as_uri(), "--identity", kept.site.kit),
        ("--identity", kept.site.kit),
    ):
        (other,) = succeeded(quick("log", *where, "--json")).json
        assert [entry["last_seq"] for entry in other["entries"]] == [0, kept.last.seq]
    text = succeeded(quick(*arguments)).out
    assert f"1 .. {kept.last.seq}" in text


def test_running_and_killed(tmp_path: Path, quick: Zygote) -> None:
    database = tmp_path / "chat.db"
    site = Site(tmp_path / "site", {"chat": database})
    with chatting(database, tmp_path) as chat, running(site.config) as daemon:
        chat.wait_messages(20)
        daemon.wait_for("daemon.ready")
        poll(lambda: site.stored("local") >= 3, "some batches are stored")
        status = status_of(site, quick)
        assert status["daemon"] == "running"
        assert status["databases"]["chat"]["state"] == "ok"
        assert status["databases"]["chat"]["targets"]["local"]["stored"]["seq"] >= 3
        daemon.end(SIGKILL)
        after = status_of(site, quick)
        assert after["daemon"] == "stopped"
        seq = after["databases"]["chat"]["targets"]["local"]["stored"]["seq"]
        assert seq >= status["databases"]["chat"]["targets"]["local"]["stored"]["seq"]
        with running(site.config):
            poll(lambda: site.stored("local") > seq, "it goes on")
            chat.stop_writing()
            site.wait_stored(keep_truth(database, tmp_path / "truth", "end"))
        chat.close()


def test_a_dead_target_holds_nobody_back_and_recovers(tmp_path: Path, quick: Zygote) -> None:
    database = tmp_path / "chat.db"
    disk = tmp_path / "disk"
    site = Site(
        tmp_path / "site",
        {"chat": database},
        {
            "dead": f'url = "{(disk / "archive").as_uri()}"',
            "local": f'url = "{(tmp_path / "archive").as_uri()}"',
        },
    )
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (body)")
        with running(site.config) as daemon:
            for number in range(3):
                application.execute("INSERT INTO message VALUES (?)", (number,))
                site.wait_stored(keep_truth(database, tmp_path / "truth", str(number)), "local")
            daemon.wait_for("target.failed")
            states = {"local": "ok", "dead": "failing"}
            poll(lambda: states == {t.name: t.state for t in site.targets_now()}, "status knows")
            targets = status_of(site, quick)["databases"]["chat"]["targets"]
            assert (targets["local"]["state"], targets["local"]["error"]) == ("ok", "")
            dead = targets["dead"]
            assert (dead["state"], dead["stored"], dead["snapshot_seq"]) == ("failing", None, None)
            assert f"{disk} does not exist" in dead["error"]
            assert dead["error_at"] is not None
            assert "dead" in succeeded(quick("status", "--config", site.config)).out
            disk.mkdir()
            site.wait_stored(tmp_path / "truth" / "2")
            daemon.wait_for("target.recovered")
            targets = status_of(site, quick)["databases"]["chat"]["targets"]
            assert (targets["dead"]["state"], targets["dead"]["error"]) == ("ok", "")
            assert daemon.end().code == 0


def test_a_target_that_recovers_without_anything_to_ship(tmp_path: Path, quick: Zygote) -> None:
    database = tmp_path / "chat.db"
    disk = tmp_path / "disk"
    disk.mkdir()
    site = Site(tmp_path / "site", {"chat": database}, {"local": f'url = "{(disk / "archive").as_uri()}"'})
    with closing(sqlite3.connect(database)) as application:
        application.execute("CREATE TABLE message (body)")
    succeeded(quick("run", "--once", "--config", site.config))
    away = disk.rename(tmp_path / "away")
    with running(site.config) as daemon:
        daemon.wait_for("target.failed")
        away.rename(disk)
        daemon.wait_for("target.recovered")

        def recovered() -> bool:
            target = status_of(site, quick)["databases"]["chat"]["targets"]["local"]
            return bool(target["state"] == "ok" and not target["error"])

        poll(recovered, "status says that the target is well")
        assert daemon.end().code == 0


def test_a_database_that_appears_later_and_goes_and_comes(tmp_path: Path, quick: Zygote) -> None:
    database = tmp_path / "app" / "chat.db"
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as application:
        application.execute("CREATE TABLE message (body)")
    site = Site(tmp_path / "site", {"chat": database, "other": other})
    with running(site.config) as daemon:
        daemon.wait_for("source.lost")
        site.wait_stored(other, name="other")
        report = status_of(site, quick)["databases"]
        assert report["other"]["state"] == "ok"
        assert report["chat"]["state"] == "failing"
        assert f"{database} does not exist" in report["chat"]["error"]
        database.parent.mkdir()
        for body in ("first", "second"):
            with closing(sqlite3.connect(database)) as application:
                application.execute("CREATE TABLE message (body)")
                application.execute("INSERT INTO message VALUES (?)", (body,))
                application.commit()
            site.wait_stored(database)
            poll(lambda: status_of(site, quick)["databases"]["chat"]["state"] == "ok", "it is well")
            database.unlink()
            poll(lambda: status_of(site, quick)["databases"]["chat"]["state"] == "failing", "it is gone")
        assert daemon.end().code == 0
    assert format_time(0) not in succeeded(quick("status", "--config", site.config, "--json")).out
