"""What SQLite says of files that are sound, damaged, odd, and of those that take long."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncd.source.integrity import _check, check_integrity, make_specimen


@pytest.fixture
def specimen(tmp_path: Path) -> Path:
    path = tmp_path / "chat.db"
    make_specimen(path, 3, seed=1)
    return path


@pytest.mark.parametrize("quick", [True, False])
async def test_a_sound_file(specimen: Path, quick: bool) -> None:
    before = specimen.read_bytes()
    found = await check_integrity(specimen, quick=quick)
    assert (found.problems, found.unchecked) == ((), ())
    assert specimen.read_bytes() == before
    assert list(specimen.parent.iterdir()) == [specimen]


def test_specimens_differ_from_state_to_state(tmp_path: Path) -> None:
    states = make_specimen(tmp_path / "a.db", 4, seed=1)
    assert len(set(states)) == 4
    assert make_specimen(tmp_path / "b.db", 4, seed=1) == states


async def test_a_stale_log_beside_it_is_left_alone(specimen: Path) -> None:
    log = specimen.with_name("chat.db-wal")
    log.write_bytes(b"stale")
    assert not (await check_integrity(specimen, quick=True)).problems
    assert log.read_bytes() == b"stale"


@pytest.mark.parametrize("quick", [True, False])
async def test_a_page_of_garbage(specimen: Path, quick: bool) -> None:
    raw = bytearray(specimen.read_bytes())
    raw[4096:8192] = b"\xff" * 4096
    specimen.write_bytes(raw)
    assert (await check_integrity(specimen, quick=quick)).problems


async def test_only_the_full_check_sees_an_index_that_lies(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("CREATE INDEX i ON t (a)")
        connection.execute("INSERT INTO t VALUES ('needle')")
    raw = path.read_bytes()
    at = raw.rindex(b"needle")
    path.write_bytes(raw[:at] + b"poodle" + raw[at + 6 :])
    assert not (await check_integrity(path, quick=True)).problems
    assert (await check_integrity(path, quick=False)).problems


@pytest.mark.parametrize("content", [b"not a database, but long enough" * 100, b"SQLite format 3\0"])
async def test_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chat.db"
    path.write_bytes(content)
    (problem,) = (await check_integrity(path, quick=True)).problems
    assert problem.startswith("SQLite cannot read it: ")


async def test_a_missing_file(tmp_path: Path) -> None:
    (problem,) = (await check_integrity(tmp_path / "none.db", quick=True)).problems
    assert "unable to open" in problem
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ['o\'dd "name"', "plain"])
async def test_what_only_the_application_can_read_is_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / "chat.db"
    quoted = name.replace('"', '""')
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_collation("own", lambda a, b: (a > b) - (a < b))
        connection.execute("CREATE TABLE fine (a)")
        connection.execute(f'CREATE TABLE "{quoted}" (a TEXT COLLATE own PRIMARY KEY)')
        connection.execute(f"INSERT INTO \"{quoted}\" VALUES ('x'), ('y')")
    found = await check_integrity(path, quick=False)
    assert (found.problems, found.unchecked) == ((), (name,))


async def test_cancelling_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=off")
        connection.execute("CREATE TABLE t (a UNIQUE)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
            " INSERT INTO t SELECT i FROM n"
        )
    assert _check(path, False, lambda: True).problems == ("SQLite cannot read it: interrupted",)
    task = asyncio.ensure_future(check_integrity(path, quick=False))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
