"""Hints that files changed; none of them is relied on."""

import asyncio
import ctypes
from pathlib import Path

import pytest

from syncd.source.watch import Watcher


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "chat.db"
    path.touch()
    return path


async def hinted(watcher: Watcher) -> bool:
    """Whether there is a hint already: what inotify tells is there when the write returns."""
    if watcher._fd >= 0:
        watcher._read()
    await asyncio.sleep(0)
    return watcher._hint.is_set()


async def watching(path: Path) -> Watcher:
    watcher = Watcher(path)
    await watcher.wait(0.001)
    assert watcher._fd >= 0
    assert not await hinted(watcher)
    return watcher


async def test_a_change_ends_the_wait_and_the_watching(path: Path) -> None:
    watcher = await watching(path)
    for _ in range(2):
        waiting = asyncio.ensure_future(watcher.wait(60))
        await asyncio.sleep(0)
        path.write_bytes(b"x")
        await waiting
        assert watcher._fd == -1


@pytest.mark.parametrize("name", ["chat.db-wal", "chat.db-journal"])
async def test_the_log_hints_when_it_comes_grows_and_goes(path: Path, name: str) -> None:
    log = path.with_name(name)
    for change in (log.touch, lambda: log.write_bytes(b"x"), log.unlink):
        watcher = await watching(path)
        change()
        assert await hinted(watcher)
        watcher.stop()


async def test_a_database_that_is_replaced_hints(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    watcher = await watching(path)
    other.rename(path)
    assert await hinted(watcher)
    watcher.stop()


async def test_what_else_lies_there_does_not(path: Path) -> None:
    other = path.with_name("attachment")
    watcher = await watching(path)
    other.write_bytes(b"x")
    other.write_bytes(b"xx")
    path.with_name("chat.db-shm").touch()
    path.read_bytes()
    assert not await hinted(watcher)
    watcher.stop()


async def test_a_hint_before_the_wait_ends_it_at_once(path: Path) -> None:
    watcher = await watching(path)
    path.write_bytes(b"x")
    assert await hinted(watcher)
    assert watcher._fd == -1  # a busy database is not watched, whether somebody waits or not
    await asyncio.wait_for(watcher.wait(60), 30)
    assert not watcher._hint.is_set()


async def test_without_a_hint_the_wait_ends_by_itself_and_the_watching_goes_on(path: Path) -> None:
    watcher = await watching(path)
    before = watcher._fd
    await watcher.wait(0.001)
    assert watcher._fd == before
    watcher.stop()
    watcher.stop()


async def test_a_directory_that_is_not_there_is_left_to_the_poll(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / "none" / "chat.db")
    await watcher.wait(0.01)
    watcher.stop()


@pytest.mark.parametrize("libc", [object(), None])
async def test_where_there_are_no_watches_the_poll_has_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, libc: object
) -> None:
    class Full:
        def inotify_init1(self, _flags: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc or Full())
    watcher = Watcher(path)
    await watcher.wait(0.001)
    assert watcher._fd == -1
    watcher.stop()


async def test_nothing_stays_open(path: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(3):
        (await watching(path)).stop()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


async def test_a_link_is_watched_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "messages.db"
    real.touch()
    link = tmp_path / "chat.db"
    link.symlink_to(real)
    watcher = await watching(link)
    real.with_name("messages.db-wal").touch()
    assert await hinted(watcher)
    watcher.stop()
