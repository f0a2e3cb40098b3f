"""The writer keeps its promises: valid databases, a true truth, and histories that can be repeated."""

import hashlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from struct import unpack_from
from typing import Any

import pytest

from tests.histories.app import OPS, ROLLBACK_MODES, App, Opening
from tests.histories.driver import ROOT, Writer
from tests.histories.life import LIFE
from tests.histories.process import attempt
from tests.histories.registry import GROUPS, Op
from tests.histories.schema import PAGE_SIZES, Birth
from tests.support.oracle import fold, integrity_check, side_files

ORDINARY = "dml,ddl,vacuum,checkpoint,pragma,connection,process,journal,pagesize,exclusive"
EVERYTHING: dict[str, Op[Any]] = {**LIFE.ops, **OPS.ops}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The database's directory; the test's own files go elsewhere."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.mark.parametrize("seed", range(4))
def test_every_database_on_the_way_is_valid(home: Path, tmp_path: Path, seed: int) -> None:
    with Writer(home, seed) as writer:
        for _ in range(4):
            answer = writer.run(15)
            assert len(answer["ops"]) + len(answer["skipped"]) == 15
            assert answer["busy"] == []
            truth = writer.truth(tmp_path / "truth")
            assert truth["exists"] == writer.db.exists()
            if truth["exists"]:
                image = (tmp_path / "truth").read_bytes()
                assert (truth["sha256"], truth["bytes"]) == (hashlib.sha256(image).hexdigest(), len(image))
                assert len(image) % truth["page_size"] == 0
                assert integrity_check(tmp_path / "truth") == []


def test_the_same_seed_and_commands_make_the_same_history(tmp_path: Path) -> None:
    answers = []
    for name in ("one", "two"):
        home = tmp_path / name
        home.mkdir()
        with Writer(home, "again") as writer:
            answers.append([(writer.run(20), writer.truth(tmp_path / "truth")) for _ in range(3)])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(4))
def test_what_serialize_says_is_what_a_checkpoint_makes(home: Path, tmp_path: Path, seed: int) -> None:
    with Writer(home, seed, "--allow", ORDINARY) as writer:
        for _ in range(5):
            writer.run(8)
            writer.truth(tmp_path / "truth")
            assert fold(writer.db, tmp_path).read_bytes() == (tmp_path / "truth").read_bytes()


@pytest.mark.parametrize("mode", ROLLBACK_MODES)
def test_in_a_rollback_mode_the_file_is_the_truth_and_serialize_agrees(tmp_path: Path, mode: str) -> None:
    """Only because `App.image` empties the cache first; see there."""
    db = tmp_path / "app.db"
    app = App(db, Opening(seed=7, allow=frozenset(), journal=mode))
    app.conn.execute("PRAGMA secure_delete=OFF")
    app.conn.execute("PRAGMA cache_size=-2000")
    rng = Random(mode)
    names = [op.name for op in OPS.ops.values() if op.group in {"dml", "rollback", "ddl", "vacuum"}]
    for _ in range(60):
        attempt(app, rng.choice(names), rng.getrandbits(64))
        assert app.image() == db.read_bytes()
    app.close()


def committed_frames_with_foreign_salts(db: Path) -> int:
    """As `shared/zeroed_frames.py` counts: frames up to the wal-index's mxFrame."""
    wal, shm = (db.with_name(db.name + suffix).read_bytes() for suffix in ("-wal", "-shm"))
    (frames,) = unpack_from("<I", shm, 16)
    if not frames:
        return 0
    (page_size,) = unpack_from(">I", wal, 8)
    salts = [
        wal[start + 8 : start + 16] for start in range(32, 32 + frames * (page_size + 24), page_size + 24)
    ]
    return sum(salt != wal[16:24] for salt in salts)


@pytest.mark.skipif(sqlite3.sqlite_version_info > (3, 49, 1), reason="this SQLite no longer does it")
def test_savepoints_leave_zeroed_frames_whose_content_is_told(home: Path, tmp_path: Path) -> None:
    """Until they are checkpointed, a recovery after a crash would lose them; the truth must not."""
    lost = 0
    with Writer(home, 2, "--allow", "savepoints", "--page-size", "1024", "--journal", "wal") as writer:
        for _ in range(60):
            writer.ask("op", names=["reopen", *["savepoints"] * 5])
            zeroed = committed_frames_with_foreign_salts(writer.db)
            truth = writer.truth(tmp_path / "truth")
            assert truth["how"] == "serialize"
            assert integrity_check(tmp_path / "truth") == []
            lost += fold(writer.db, tmp_path).read_bytes() != (tmp_path / "truth").read_bytes()
            assert zeroed or not lost
            if lost:
                return
    pytest.fail("no committed frame that a recovery loses, in 300 transactions")


def test_every_operation_is_reached(tmp_path: Path) -> None:
    done: set[str] = set()
    for seed in range(12):
        home = tmp_path / str(seed)
        home.mkdir()
        with Writer(home, f"tour {seed}") as writer:
            done.update(writer.run(60)["ops"])
            missing = [name for name in EVERYTHING if name not in done]
            done.update(writer.ask("op", names=[*missing, *missing])["ops"])
        if done == set(EVERYTHING):
            return
    pytest.fail(f"never done: {sorted(set(EVERYTHING) - done)}")


@pytest.mark.parametrize("mode", ["wal", "delete", "persist"])
def test_a_crash_in_a_transaction_takes_back_just_that(home: Path, tmp_path: Path, mode: str) -> None:
    with Writer(home, 3, "--allow", "dml", "--journal", mode) as writer:
        writer.run(10)
        before = writer.truth(tmp_path / "before")
        assert writer.op("crash_in_transaction")["state"] == "crashed"
        after = writer.truth(tmp_path / "after")
        assert after["sha256"] == before["sha256"]
        assert after["hot_journal"] == (mode != "wal")
        assert after["how"] == "fold"
        assert writer.run(1)["state"] == "open"
        assert writer.truth(tmp_path / "after")["hot_journal"] is False


def test_a_crash_leaves_the_wal_and_an_orderly_end_does_not(home: Path, tmp_path: Path) -> None:
    with Writer(home, 4, "--allow", "insert_small", "--journal", "wal") as writer:
        writer.op("insert_small")
        before = writer.truth(tmp_path / "truth")
        writer.op("crash")
        assert [path.exists() for path in side_files(writer.db)] == [True, True, False]
        assert writer.truth(tmp_path / "truth")["sha256"] == before["sha256"]
        writer.ask("open")
        assert writer.ask("close")["state"] == "closed"
        assert not any(path.exists() for path in side_files(writer.db))
        assert writer.truth(tmp_path / "truth")["sha256"] == before["sha256"]


def test_a_deleted_database_does_not_exist_until_it_is_needed(home: Path, tmp_path: Path) -> None:
    with Writer(home, 5) as writer:
        assert writer.truth(tmp_path / "truth")["exists"] is False
        writer.run(5, allow=["dml"])
        writer.op("delete_files")
        assert list(home.iterdir()) == []
        assert writer.truth(tmp_path / "truth") == {"ok": True, "exists": False, "hot_journal": False}
        writer.ask("open")
        assert writer.db.exists()


def test_a_restored_backup_is_another_file(home: Path, tmp_path: Path) -> None:
    with Writer(home, 6, "--allow", "dml", "--journal", "wal") as writer:
        writer.run(10)
        writer.op("backup")
        with closing(sqlite3.connect(f"{writer.db.as_uri()}.backup?mode=ro", uri=True)) as conn:
            saved = list(conn.iterdump())
        writer.run(10)
        inode = writer.db.stat().st_ino
        writer.op("restore_backup")
        assert writer.db.stat().st_ino != inode
        writer.truth(tmp_path / "truth")
        with closing(sqlite3.connect(f"{(tmp_path / 'truth').as_uri()}?immutable=1", uri=True)) as conn:
            assert list(conn.iterdump()) == saved


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_sqlite_accepts_the_template_and_keeps_its_reserved_bytes(tmp_path: Path, page_size: int) -> None:
    for auto_vacuum in (0, 1, 2):
        birth = Birth(page_size=page_size, reserved=32, encoding=1 + auto_vacuum, auto_vacuum=auto_vacuum)
        db = tmp_path / f"{auto_vacuum}.db"
        db.write_bytes(birth.template())
        assert integrity_check(db) == []
        with closing(sqlite3.connect(db, isolation_level=None)) as conn:
            conn.execute("PRAGMA journal_mode=WAL")
            conn.execute("CREATE TABLE t(a)")
            conn.execute("INSERT INTO t VALUES (zeroblob(100000))")
            conn.execute("VACUUM")
            assert conn.execute("PRAGMA page_size").fetchone() == (page_size,)
            assert conn.execute("PRAGMA auto_vacuum").fetchone() == (auto_vacuum,)
        assert db.read_bytes()[20] == 32
        assert integrity_check(db) == []


def test_only_what_is_allowed_happens(home: Path) -> None:
    with Writer(home, 8, "--allow", "dml,crash,file", "--deny", "file") as writer:
        for name in writer.run(40)["ops"]:
            assert EVERYTHING[name].group in {"dml", "crash"}
        for name in writer.run(20, allow=["checkpoint", "mixed"])["ops"]:
            assert name == "mixed" or EVERYTHING[name].group == "checkpoint"


def test_every_group_has_operations_and_unknown_words_are_refused(home: Path) -> None:
    assert {op.group for op in EVERYTHING.values()} == set(GROUPS)
    assert len(EVERYTHING) == len(LIFE.ops) + len(OPS.ops)
    command = [sys.executable, "-m", "tests.histories.writer", str(home), "1", "--allow", "dml,nonsense"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "nonsense" in result.stderr


def test_no_process_outlives_a_killed_writer(home: Path) -> None:
    with Writer(home, 9, "--allow", "dml", "--journal", "wal") as writer:
        writer.run(3)
        writer.op("start_other")
        writer.op("reopen")  # now each child was started while the other ran
        writer.process.kill()
        # The children share its stdout: it ends only when they all have.
        assert writer.process.communicate(timeout=30)[0] == ""
