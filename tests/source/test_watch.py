"""Hints that files changed; none of them is relied on."""

import asyncio
from pathlib import Path

from syncd.source.watch import Watcher


async def test_a_change_ends_the_wait_and_the_watching(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.touch()
    async with asyncio.TaskGroup() as group:
        watcher = Watcher(path, group)
        for _ in range(2):
            waiting = asyncio.ensure_future(watcher.wait(60))
            size = 0
            while not waiting.done():  # until the watch is up and sees one
                size += 1
                path.with_name("chat.db-wal").write_bytes(bytes(size))
                await asyncio.wait([waiting], timeout=0.05)
            assert watcher._watching is None


async def test_without_a_hint_the_wait_ends_by_itself_and_the_watching_goes_on(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        watcher = Watcher(tmp_path / "chat.db", group)
        await watcher.wait(0.001)
        assert watcher._watching is not None
        watcher.stop()


async def test_a_directory_that_is_not_there_is_left_to_the_poll(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        watcher = Watcher(tmp_path / "none" / "chat.db", group)
        await watcher.wait(0.01)
        watcher.stop()


async def test_a_link_is_watched_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "chat.db"
    link.symlink_to(tmp_path / "real" / "messages.db")
    async with asyncio.TaskGroup() as group:
        watcher = Watcher(link, group)
    assert watcher._directory == (tmp_path / "real").resolve()
    assert "messages.db-wal" in watcher._names
