"""The harness itself: what it must notice, it notices; its faults are faults."""

import errno
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.oracle import fold
from tests.torture.application import Application, State
from tests.torture.invariants import problems
from tests.torture.ledger import Ledger
from tests.torture.mounts import Mount
from tests.torture.preload import Layer
from tests.torture.profiles import PROFILES
from tests.torture.styles import ROLLBACK_STYLES, WAL_STYLES, run_style


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with (tmp_path / "journal").open("a") as journal:
        ledger = Ledger(tmp_path / "chat.db", journal, mode="wal", counter=0, bulk_bytes=100_000)
        yield ledger
        ledger.close()


def states_of(tmp_path: Path) -> set[State]:
    return Application(tmp_path / "chat.db", tmp_path / "journal", mode="wal", bulk_bytes=0, seed=0).states()


def copied(ledger: Ledger, tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir(exist_ok=True)
    return fold(ledger.path, tmp_path / "copy")


@pytest.mark.parametrize("style", WAL_STYLES)
def test_every_style_commits_states_that_are_whole(style: str, ledger: Ledger, tmp_path: Path) -> None:
    left = iter(range(30))
    run_style(style, ledger, random.Random(1), lambda _seconds: next(left, None) is None)
    assert problems(copied(ledger, tmp_path), None, states_of(tmp_path)) == []
    assert ledger.complaints == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM messages WHERE id = 5", "torn"),
        ("UPDATE messages SET body = body || '!' WHERE id = 5", "torn"),
        ("UPDATE total SET counter = counter + 1", "never committed"),
    ],
)
def test_what_was_never_committed_is_found(
    statement: str, found: str, ledger: Ledger, tmp_path: Path
) -> None:
    copy = copied(ledger, tmp_path)
    with closing(sqlite3.connect(copy, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = DELETE")
        conn.execute(statement)
    assert found in " ".join(problems(copy, None, states_of(tmp_path)))


def test_a_checkpoint_of_somebody_else_is_found(ledger: Ledger) -> None:
    looks = iter(range(60))

    def told(_seconds: float) -> bool:
        with closing(sqlite3.connect(ledger.path)) as other:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return next(looks, None) is None

    seed = next(n for n in range(100) if random.Random(n).randint(20, 200) < 50)
    run_style("manual", ledger, random.Random(seed), told)
    assert any("somebody else" in complaint for complaint in ledger.complaints)


def test_the_layer_fails_what_it_shall_and_moves_the_clock(tmp_path: Path) -> None:
    layer = Layer.build(tmp_path)
    if layer is None:
        pytest.skip("no C compiler")
    (tmp_path / "bad").mkdir()
    code = f"""
import time
for name in ("good", "bad/file"):
    try:
        open("{tmp_path}/" + name, "wb").close()
        print("written")
    except OSError as e:
        print(e.errno)
print(time.time() > {2**32})
"""
    layer.skew(100 * 365 * 86400)
    layer.fail(tmp_path / "bad", writing=errno.EROFS)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | layer.environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["written", str(errno.EROFS), "True"]


def test_a_mount_is_full_and_then_it_is_not(tmp_path: Path) -> None:
    with Mount.over(tmp_path, 1 << 20) as mount:
        if not mount.real:
            pytest.skip("only root may mount a file system")
        (tmp_path / "before").write_bytes(bytes(8192))
        mount.fill(0)
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "file").write_bytes(bytes(8192))
        mount.widen()
        (tmp_path / "file").write_bytes(bytes(8192))


def test_profiles_cover_every_style_and_name_their_faults_apart() -> None:
    kinds = {kind for profile in PROFILES.values() for kind in profile.faults}
    assert len({kind.name() for kind in kinds}) == len(kinds)
    assert set(ROLLBACK_STYLES) < set(WAL_STYLES)
    assert {style for profile in PROFILES.values() for style in profile.styles} == set(WAL_STYLES)
