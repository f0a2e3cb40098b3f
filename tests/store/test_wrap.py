"""The wrappers: sub-prefix, meter, and the tests' own faults; the strictness of memory."""

import asyncio

import pytest
from typing_extensions import override

from syncd.errors import ObjectExists, ObjectNotFound, StoreRefused, StoreUnavailable
from syncd.store import MeteredStore, PrefixStore, Usage, prefixed
from syncd.store.memory import MemoryStore
from syncd.store.wrap import WatchedStore
from tests.support.faultstore import Fault, FaultStore


async def test_prefixes_keep_databases_apart() -> None:
    target = MemoryStore(url="s3://bucket/backup")
    chat, mail = prefixed(target, "chat/"), prefixed(target, "mail/")
    await chat.put("a/b", b"chat")
    await mail.put("a/b", b"mail")
    assert sorted(target.held) == ["chat/a/b", "mail/a/b"]
    assert [await chat.get("a/b"), await mail.get("a/b")] == [b"chat", b"mail"]
    assert [info.name async for info in chat.objects("")] == ["a/b"]
    assert [info.name async for info in chat.objects("a/", after="a/b")] == []
    assert await chat.dirs("") == ["a"]
    await chat.delete("a/b")
    assert list(target.held) == ["mail/a/b"]
    assert chat.url == "s3://bucket/backup/chat"


async def test_closing_a_prefix_leaves_the_target_open() -> None:
    target = MemoryStore()
    chat, mail = prefixed(target, "chat/"), prefixed(target, "mail/")
    await chat.close()
    await mail.put("a", b"x")
    await target.close()
    with pytest.raises(RuntimeError, match="after close"):
        await mail.get("a")


def test_prefixes_are_directories() -> None:
    target = MemoryStore()
    assert prefixed(target, "") is target
    for prefix in ("chat", "/", "../", "a//"):
        with pytest.raises(ValueError, match="name"):
            PrefixStore(target, prefix)


async def test_the_meter_counts_calls_bytes_and_failures() -> None:
    store = MeteredStore(MemoryStore())
    await store.put("a", b"12345")
    with pytest.raises(ObjectExists):
        await store.put("a", b"1234567")
    await store.get("a")
    with pytest.raises(ObjectNotFound):
        await store.get("b")
    assert [info.name async for info in store.objects("")] == ["a"]
    await store.dirs("")
    await store.delete("a")
    assert store.usage == Usage(puts=2, gets=2, lists=2, deletes=1, failures=2, put_bytes=5, get_bytes=5)
    await store.close()


async def test_the_meter_counts_failures_of_every_call() -> None:
    faults = dict.fromkeys(range(1, 6), Fault.FAIL)
    store = MeteredStore(FaultStore(MemoryStore(), faults))

    async def listing() -> None:
        async for _ in store.objects(""):
            pass

    for call in (store.put("a", b"x"), store.get("a"), store.dirs(""), store.delete("a"), listing()):
        with pytest.raises(StoreUnavailable):
            await call
    assert store.usage.failures == 5


async def test_faults_come_at_their_calls() -> None:
    memory = MemoryStore()
    store = FaultStore(memory, {2: Fault.FAIL, 3: Fault.LOSE_ACK, 5: Fault.HANG, 6: Fault.HANG_AFTER})
    await store.put("a", b"x")
    for name in ("b", "c"):
        with pytest.raises(StoreUnavailable):
            await store.put(name, b"x")
    assert sorted(memory.held) == ["a", "c"]
    await store.put("c", b"x")
    for name in ("d", "e"):
        store.hanging.clear()
        task = asyncio.create_task(store.put(name, b"x"))
        await store.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sorted(memory.held) == ["a", "c", "e"]
    assert store.calls == 6


async def test_memory_refuses_a_name_that_is_also_a_directory() -> None:
    store = MemoryStore()
    await store.put("a/b/c", b"x")
    for name in ("a", "a/b", "a/b/c/d"):
        with pytest.raises(StoreRefused, match="directory"):
            await store.put(name, b"x")
    with pytest.raises(ValueError, match="is a directory"):
        _ = [info async for info in store.objects("", after="a/b")]


class Slow:
    """What a watched store says, and whether each telling has ended with its call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.told = asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self, call: str, seconds: float) -> None:
        assert seconds > 0
        self.calls.append(call)
        self.told.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(call)


async def test_a_call_without_an_answer_is_told_and_waited_for() -> None:
    slow, gate = Slow(), asyncio.Event()

    class Gated(MemoryStore):
        @override
        async def put(self, name: str, data: bytes) -> None:
            await gate.wait()
            await super().put(name, data)

    store = WatchedStore(Gated(), slow, 0.01)
    put = asyncio.create_task(store.put("a", b"x"))
    await slow.told.wait()
    assert (slow.calls, slow.ended, put.done()) == (["put a"], [], False)
    gate.set()
    await put
    assert slow.ended == ["put a"]
    assert await store.get("a") == b"x"


async def test_every_kind_of_call_is_watched() -> None:
    faults = dict.fromkeys(range(1, 6), Fault.HANG)
    slow = Slow()
    store = WatchedStore(FaultStore(MemoryStore(), faults), slow, 0.01)

    async def listing() -> None:
        async for _ in store.objects("p/"):
            pass

    calls = [store.put("a", b""), store.get("a"), listing(), store.dirs(""), store.delete("a")]
    for call in calls:
        slow.told.clear()
        task = asyncio.create_task(call)
        await slow.told.wait()
        task.cancel()
        await asyncio.wait([task])
    assert slow.calls == ["put a", "get a", "list p/", "list ", "delete a"] == slow.ended


async def test_quick_calls_are_not_told() -> None:
    slow = Slow()
    store = WatchedStore(MemoryStore(), slow, 3600.0)
    await store.put("a/b", b"x")
    assert [info.name async for info in store.objects("")] == ["a/b"]
    assert await store.dirs("") == ["a"]
    await store.delete("a/b")
    with pytest.raises(ObjectNotFound):
        await store.get("a/b")
    assert slow.calls == []


@pytest.mark.looptime
async def test_a_slow_line_that_moves_is_told_once() -> None:
    class Line(MemoryStore):
        rate = 128 * 1024

        @override
        async def put(self, name: str, data: bytes) -> None:
            await asyncio.sleep(len(data) / self.rate)
            await super().put(name, data)

    slow, line = Slow(), Line()
    store = WatchedStore(line, slow, 5.0)
    for number in range(5):
        await store.put(f"n{number}", bytes(4 << 20))
    assert slow.calls == ["put n0"], "32 s each; after the first one that is known"
    await store.put("small", b"x")
    line.rate = 1
    await store.put("stuck", bytes(100))
    assert slow.calls == ["put n0", "put stuck"]
