"""The wrappers: sub-prefix, meter, and the tests' own faults; the strictness of memory."""

import asyncio

import pytest

from syncd.errors import ObjectExists, ObjectNotFound, StoreRefused, StoreUnavailable
from syncd.store import MeteredStore, PrefixStore, Usage, prefixed
from syncd.store.memory import MemoryStore
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
