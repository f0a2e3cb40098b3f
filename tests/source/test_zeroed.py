"""Committed frames without salts and checksum, which SQLite up to 3.49.1 leaves behind.

A cache spills frames into the log, ROLLBACK TO discards them, and the commit that writes those pages
again leaves the header of the overwritten frame empty. Newer libraries never do: then nothing is shown.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from syncd.log import Event
from tests.source.app import App
from tests.source.rig import Rig

SEEDS = 60
FRAME = 1024 + 24


def write(app: App, rng: Random) -> None:
    app.sql("BEGIN")
    depth = 0
    for _ in range(rng.randrange(5, 40)):
        x = rng.random()
        if x < 0.7:
            length, number = rng.randrange(500), rng.randrange(60)
            app.sql("UPDATE t SET a = ? WHERE id = ?", rng.choice("abc") * length, number)
        elif x < 0.85:
            app.sql("SAVEPOINT s")
            depth += 1
        elif depth:
            app.sql("ROLLBACK TO s")
    app.sql("COMMIT")


def zeroed(path: Path, frames: int) -> bool:
    raw = Path(f"{path}-wal").read_bytes()
    return any(raw[32 + k * FRAME + 8 : 32 + k * FRAME + 16] != raw[16:24] for k in range(frames))


def find(start_app: Callable[[], App], make_rig: Callable[..., Rig]) -> tuple[App, Rig] | None:
    """An application with such frames in its log, and what followed it from the start."""
    for seed in range(SEEDS):
        app = start_app()
        app.path.unlink(missing_ok=True)
        rng = Random(seed)
        app.open(
            "page_size=1024",
            "journal_mode=wal",
            "synchronous=off",
            f"cache_size={rng.choice([2, 5, 10])}",
            "wal_autocheckpoint=0",
        )
        app.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
        app.many("INSERT INTO t VALUES (?, ?)", [(i, "x" * 300) for i in range(60)])
        rig = make_rig()
        rig.catch_up()
        for _ in range(6):
            write(app, rng)
            position = rig.path.with_name("chat.db-shm").read_bytes()[16:20]
            if zeroed(app.path, int.from_bytes(position, "little")):
                return app, rig
            rig.catch_up()
        app.close()
        app.kill()
    return None


@pytest.mark.skipif(sqlite3.sqlite_version_info >= (3, 49, 2), reason="this SQLite does not do that")
def test_such_frames_are_read_by_the_index(
    start_app: Callable[[], App], make_rig: Callable[..., Rig]
) -> None:
    found = find(start_app, make_rig)
    assert found is not None
    app, rig = found
    rig.catch_up()
    assert rig.log.of(Event.SOURCE_AT_RISK)
    assert rig.shadow_bytes() == app.serialize(rig.scratch / "truth.db")
    app.sql("UPDATE t SET a = 'one more' WHERE id = 1")
    rig.catch_up()
    assert rig.shadow_bytes() == app.serialize(rig.scratch / "truth.db")
    assert len(rig.log.of(Event.SOURCE_AT_RISK)) == 1
    # Someone who begins to look now finds the same.
    late = make_rig()
    late.catch_up()
    assert late.shadow_bytes() == rig.shadow_bytes()
    # A checkpoint and a reset make no difference.
    app.sql("PRAGMA wal_checkpoint(RESTART)")
    app.sql("UPDATE t SET a = 'and another' WHERE id = 2")
    rig.check()
    # A crash loses them, if they are the last: whatever SQLite makes of the log then, the shadow follows.
    write(app, Random(1))
    app.kill()
    rig.check()
