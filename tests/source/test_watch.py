"""Hints that files changed; none of them is relied on."""

import asyncio
from pathlib import Path

from syncd.source.watch import Watcher


async def test_a_change_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.touch()
    watcher = Watcher(path)
    task = asyncio.ensure_future(watcher.run())
    waiting = asyncio.ensure_future(watcher.wait(60))
    size = 0
    while not waiting.done():  # until the watch is up and sees one
        size += 1
        path.with_name("chat.db-wal").write_bytes(bytes(size))
        await asyncio.wait([waiting], timeout=0.05)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_without_a_hint_the_wait_ends_by_itself(tmp_path: Path) -> None:
    await Watcher(tmp_path / "chat.db").wait(0.001)


async def test_a_directory_that_is_not_there_is_left_to_the_poll(tmp_path: Path) -> None:
    await Watcher(tmp_path / "none" / "chat.db").run()


async def test_a_link_is_watched_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "chat.db"
    link.symlink_to(tmp_path / "real" / "messages.db")
    watcher = Watcher(link)
    assert watcher._directory == (tmp_path / "real").resolve()
    assert "messages.db-wal" in watcher._names
