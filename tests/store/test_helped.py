"""Help with getting objects: whatever becomes of the helper, every object comes, and errors are told here."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from typing_extensions import override

from syncd.errors import ObjectNotFound
from syncd.store import helped, open_store
from syncd.store.directory import DirectoryStore
from syncd.store.helped import FAILED, HEADER, HelpedStore

COUNT = 60
PATIENCE = 30.0


class Counting(DirectoryStore):
    """Counts what it is asked for itself."""

    gets = 0

    @override
    async def get(self, name: str) -> bytes:
        self.gets += 1
        return await super().get(name)


class Scene:
    """A store with objects, helped by one process."""

    def __init__(self, directory: Path, *, timeout: float) -> None:
        self.inner = Counting(directory)
        self.store = HelpedStore(self.inner, {"url": directory.as_uri()}, timeout=timeout)

    async def fill(self) -> None:
        for number in range(COUNT):
            await self.inner.put(name_of(number), object_of(number))

    async def get(self, number: int) -> None:
        assert await self.store.get(name_of(number)) == object_of(number)

    async def helper(self) -> int:
        """The helper's pid; it is ready."""
        async with asyncio.timeout(PATIENCE):
            while not (self.store._helpers and self.store._helpers[0].busy == 0):
                await self.get(0)
        path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        children = [int(pid) for pid in path.read_text().split()]
        (pid,) = [pid for pid in children if b"syncd.store.helper" in command_of(pid)]
        return pid


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def name_of(number: int) -> str:
    return f"chat/generations/G/deltas/{number:04}"


def object_of(number: int) -> bytes:
    return bytes([number]) * (1 + 7000 * number)


@pytest_asyncio.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(helped, "_WORTH_IT", 5)
    monkeypatch.setattr(helped, "_AT_ONCE", 32)
    monkeypatch.setattr(helped, "_spare_processors", lambda: 1)
    scene = Scene(tmp_path, timeout=PATIENCE)
    await scene.fill()
    yield scene
    await scene.store.close()


async def test_what_a_helper_gets_is_what_is_there(scene: Scene) -> None:
    await scene.helper()
    before = scene.inner.gets
    await asyncio.gather(*(scene.get(number) for number in range(COUNT)))
    assert 0 < scene.inner.gets - before <= COUNT - 32
    assert await scene.store.get("chat/generations/G/deltas/0000") == object_of(0)


async def test_what_it_cannot_get_is_told_by_the_store_itself(scene: Scene) -> None:
    await scene.helper()
    before = scene.inner.gets
    with pytest.raises(ObjectNotFound, match=r"deltas/9999"):
        await scene.store.get(name_of(9999))
    assert scene.inner.gets == before + 1


async def test_few_objects_need_no_help(scene: Scene) -> None:
    for number in range(4):
        await scene.get(number)
    await scene.inner.put("chat/generations/G/packs/1", b"pack")
    for _ in range(9):
        await scene.store.get("chat/generations/G/packs/1")
    assert not scene.store._helpers


async def test_a_listing_says_that_help_will_be_needed(scene: Scene) -> None:
    names = [info.name async for info in scene.store.objects("chat/")]
    assert len(names) == COUNT
    assert len(scene.store._helpers) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_helper_that_dies_costs_nothing(scene: Scene, how: signal.Signals) -> None:
    pid = await scene.helper()
    os.kill(pid, signal.SIGSTOP)  # so that it owes answers when it dies
    going = asyncio.gather(*(scene.get(number) for number in range(COUNT)))
    await asyncio.sleep(0)
    assert scene.store._helpers[0].busy == 32
    os.kill(pid, how)
    with contextlib.suppress(ProcessLookupError):  # SIGKILL does not wait for that
        os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        await going
    await scene.get(1)


async def test_a_helper_that_hangs_is_waited_for_only_so_long(scene: Scene) -> None:
    pid = await scene.helper()
    scene.store._helpers[0]._seconds = 0.2
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(scene.get(number) for number in range(COUNT)))


async def test_no_helper_can_be_started(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    await asyncio.gather(*(scene.get(number) for number in range(COUNT)))
    await scene.get(1)


async def test_closing_ends_it_and_what_waits_for_it(scene: Scene) -> None:
    pid = await scene.helper()
    os.kill(pid, signal.SIGSTOP)
    waiting = asyncio.ensure_future(scene.get(1))
    await asyncio.sleep(0)
    await scene.store.close()
    assert not command_of(pid)
    await waiting


async def test_a_cancelled_get_leaves_the_others_alone(scene: Scene) -> None:
    await scene.helper()
    tasks = [asyncio.ensure_future(scene.get(number)) for number in range(COUNT)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks[1::2])
    await scene.get(0)


async def test_only_a_store_whose_requests_are_dear_is_helped(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri(), helped=True)
    assert isinstance(store, DirectoryStore)
    remote = open_store("s3://bucket/prefix", helped=True)
    assert isinstance(remote, HelpedStore)
    assert remote.url == "s3://bucket/prefix"
    await remote.close()


def test_it_ends_with_its_input_and_says_what_it_cannot_get(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"object")
    command = [sys.executable, "-m", "syncd.store.helper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"url": tmp_path.as_uri()}).encode() + b"\na\nb\n")
        process.stdin.flush()
        assert process.stdout.read(8) == HEADER.pack(0, 0)
        answers = process.stdout.read(22)
        process.send_signal(signal.SIGINT)  # of the terminal; it is not for it
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    got, failed = HEADER.pack(0, 6) + b"object", HEADER.pack(1, FAILED)
    assert answers in {got + failed, failed + got}
