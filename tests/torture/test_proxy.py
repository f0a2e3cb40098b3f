"""The proxy that torture runs put before a server: every fault, through the store that meets it."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator

import pytest

from syncd.errors import ObjectNotFound, StoreUnavailable
from syncd.store.s3 import S3Store
from tests.support.httpproxy import HttpProxy
from tests.support.servers import BUCKET, S3Server
from tests.torture.proxy import answer_to, proxied

pytestmark = pytest.mark.usefixtures("s3_environment")

BIG = bytes(range(256)) * 2048  # 512 KiB


@pytest.fixture
def s3_prefix() -> str:
    return f"torture-{secrets.token_hex(6)}/"


@pytest.fixture
async def proxy(seaweedfs: S3Server) -> AsyncIterator[HttpProxy]:
    async with HttpProxy(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: HttpProxy, s3_prefix: str) -> AsyncIterator[S3Store]:
    store = S3Store(BUCKET, s3_prefix, endpoint_url=proxy.url, attempts=1)
    yield store
    await store.close()


async def names(store: S3Store, *, after: str = "") -> list[str]:
    return [info.name async for info in store.objects("", after=after)]


async def test_it_passes_on(proxy: HttpProxy, store: S3Store) -> None:
    await store.put("a/b", BIG)
    assert await store.get("a/b") == BIG
    assert await names(store) == ["a/b"]
    assert await store.dirs("") == ["a"]
    await store.delete("a/b")
    with pytest.raises(ObjectNotFound):
        await store.get("a/b")
    assert proxy.requests == {"PUT": 1, "GET": 4, "DELETE": 1}
    assert proxy.faults == {}


async def test_chunked_bodies_pass(proxy: HttpProxy, s3_prefix: str) -> None:
    raw = (
        f"PUT /{BUCKET}/{s3_prefix}c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(raw.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 403")  # it is not signed; it was understood
    writer.close()


@pytest.mark.parametrize("fault", ["reset", "lost_ack", "cut"])
async def test_a_connection_that_ends(proxy: HttpProxy, store: S3Store, fault: str) -> None:
    await store.put("a", BIG)
    await proxy.set(**{fault: 1.0})
    with pytest.raises(StoreUnavailable, match="connection"):
        await store.get("a")
    assert proxy.faults.keys() == {fault}
    await proxy.set(clear=True)
    assert await store.get("a") == BIG


@pytest.mark.parametrize("fault", ["lost_ack", "reset"])
async def test_whether_the_server_has_it(proxy: HttpProxy, store: S3Store, fault: str) -> None:
    await proxy.set(**{fault: 1.0}, only="^PUT")
    with pytest.raises(StoreUnavailable):
        await store.put("a", b"x")
    assert await names(store) == (["a"] if fault == "lost_ack" else [])


@pytest.mark.parametrize("fault", [{"hang": True}, {"held_ack": 1.0}])
async def test_silence(proxy: HttpProxy, store: S3Store, fault: dict[str, object]) -> None:
    await names(store)
    await proxy.set(**fault)
    put = asyncio.create_task(store.put("a", b"x"))
    await proxy.faulted.wait()
    assert not put.done()
    put.cancel()
    await asyncio.wait([put])
    await proxy.set(clear=True)
    assert await names(store) == (["a"] if "held_ack" in fault else [])


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_storm_of_refusals(proxy: HttpProxy, store: S3Store, code: int) -> None:
    await proxy.set(error=1.0, codes=[code], only=" /.*/a")
    for call in (store.put("a", b"x"), store.get("a")):
        with pytest.raises(StoreUnavailable, match=f"the server answered {code}"):
            await call
    assert await names(store) == []
    assert proxy.faults == {"error": 2, str(code): 2}


async def test_an_outage_on_the_same_port(proxy: HttpProxy, store: S3Store) -> None:
    await store.put("a", b"x")
    for _ in range(2):
        await proxy.set(outage=True)
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            await store.get("a")
        await proxy.set(outage=False)
        assert await store.get("a") == b"x"


async def test_success_without_the_object(proxy: HttpProxy, store: S3Store, s3_prefix: str) -> None:
    await proxy.set(lost_put=1.0)
    await store.put("a", b"x")
    assert proxy.counts()["lost"] == [f"/{BUCKET}/{s3_prefix}a"]
    assert await names(store) == []


async def test_shares_are_drawn(proxy: HttpProxy, store: S3Store) -> None:
    await proxy.set(lost_put=0.5)
    for number in range(40):
        await store.put(f"n{number:02}", b"")
    assert 5 < proxy.faults["lost_put"] < 35
    assert len(await names(store)) == 40 - proxy.faults["lost_put"]


async def test_listings_of_the_past(proxy: HttpProxy, store: S3Store) -> None:
    for name in ("a", "b", "d"):
        await store.put(name, b"x")
    present = 1000.0
    proxy._past.clock = lambda: present
    for known in proxy._past._objects.values():
        known.created = 0.0
    await store.put("c", b"x")
    await store.delete("b")
    assert await names(store) == ["a", "c", "d"]
    present += 10
    await proxy.set(stale=60)
    assert await names(store) == ["a", "b", "d"]
    assert await names(store, after="a") == ["b", "d"]
    store._page_size = 1
    assert await names(store) == ["a", "b", "d"]
    await proxy.set(stale=5)
    assert await names(store) == ["a", "c", "d"]


async def test_a_narrow_line(proxy: HttpProxy, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await proxy.set(bandwidth=1 << 20)
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("tests.support.httpproxy.asyncio.sleep", note)
    await store.put("a", BIG)
    assert len(slept) > 8
    assert max(slept) > 0.25, "half a MiB at one MiB a second, and the clock hardly moved"


async def test_the_process(seaweedfs: S3Server, s3_prefix: str) -> None:
    with proxied(seaweedfs.port) as process:
        store = S3Store(BUCKET, s3_prefix, endpoint_url=process.url, attempts=1)
        process.set(error=1.0, codes=[500], latency_ms=1)
        with pytest.raises(StoreUnavailable, match="answered 500"):
            await store.put("a", b"x")
        with pytest.raises(ValueError, match="no such setting: what"):
            process.set(what=1)
        process.clear(lost_put=1.0)
        await store.put("a", b"x")
        await store.close()
        counts = process.counts()
    assert counts["requests"] == {"PUT": 2}
    assert counts["faults"] == {"latency": 1, "error": 1, "500": 1, "lost_put": 1}
    assert process.process.returncode == 0


@pytest.mark.parametrize(
    ("line", "word"),
    [("[]", "JSON object"), ("{", "Expecting"), ('{"reset": "all"}', "number"), ('{"hang": 1}', "true or")],
)
async def test_wrong_lines_change_nothing(proxy: HttpProxy, line: str, word: str) -> None:
    answer = await answer_to(proxy, line)
    assert answer["ok"] is False
    assert word in json.dumps(answer)
    assert proxy.settings == type(proxy.settings)()
