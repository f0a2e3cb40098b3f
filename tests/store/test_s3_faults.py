"""S3 on a real server, behind a network that misbehaves and with credentials that do not fit."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.errors import ObjectExists, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from syncd.store import s3
from syncd.store.s3 import S3Store
from tests.store.backends import S3Backend
from tests.support.faultproxy import Fault, FaultProxy
from tests.support.httpproxy import HttpProxy
from tests.support.servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

pytestmark = pytest.mark.usefixtures("s3_environment")

BIG = bytes(range(256)) * 2048  # 512 KiB
TIGHT = 0.2  # seconds; only for servers that will not answer at all


@pytest.fixture(params=["seaweedfs", "ministack"])
def backend(request: pytest.FixtureRequest, s3_prefix: str) -> S3Backend:
    server = request.getfixturevalue(request.param)
    return S3Backend(server, request.getfixturevalue(f"{request.param}_client"), s3_prefix)


@pytest.fixture
async def proxy(backend: S3Backend) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(backend.server.port) as proxy:
        yield proxy


@pytest.fixture
async def store(backend: S3Backend, proxy: FaultProxy) -> AsyncIterator[S3Store]:
    store = S3Store(BUCKET, backend.prefix, endpoint_url=proxy.url, timeout=10.0)
    yield store
    await store.close()


@pytest.fixture
async def hasty(backend: S3Backend, proxy: FaultProxy) -> AsyncIterator[S3Store]:
    """A store with an open connection that from now on waits no longer than TIGHT."""
    store = S3Store(BUCKET, backend.prefix, endpoint_url=proxy.url)
    await store.delete("warm")
    store._timeout = TIGHT
    yield store
    await store.close()


async def test_a_lost_acknowledgement_is_not_a_conflict(
    store: S3Store, proxy: FaultProxy, backend: S3Backend
) -> None:
    await store.put("warm", b"")
    proxy.set(Fault.LOST_ACK)
    await store.put("a", b"mine")
    assert proxy.faults_done == 1
    assert backend.raw()["a"] == b"mine"


async def test_a_lost_acknowledgement_of_a_conflict_stays_one(
    store: S3Store, proxy: FaultProxy, backend: S3Backend
) -> None:
    backend.plant("a", b"theirs")
    proxy.set(Fault.LOST_ACK)
    with pytest.raises(ObjectExists):
        await store.put("a", b"mine")
    assert backend.raw()["a"] == b"theirs"


async def test_acknowledgements_lost_again_and_again(
    store: S3Store, proxy: FaultProxy, backend: S3Backend
) -> None:
    proxy.set(Fault.LOST_ACK, times=100)
    with pytest.raises(StoreUnavailable, match=r"put a: .*connection"):
        await store.put("a", b"mine")
    assert backend.raw()["a"] == b"mine"
    proxy.set(Fault.NONE)
    await store.put("a", b"mine")


async def test_a_reset_is_repeated_by_the_sdk(store: S3Store, proxy: FaultProxy, backend: S3Backend) -> None:
    proxy.set(Fault.RESET)
    await store.put("a", b"x")
    assert backend.raw() == {"a": b"x"}


async def test_latency_within_the_deadline_is_no_error(store: S3Store, proxy: FaultProxy) -> None:
    proxy.latency = 0.05
    proxy.set(Fault.LATENCY)
    await store.put("a", b"x")
    assert await store.get("a") == b"x"


@pytest.mark.parametrize("fault", [Fault.BLACKHOLE, Fault.HELD_ACK])
async def test_a_silent_server_is_unavailable(hasty: S3Store, proxy: FaultProxy, fault: Fault) -> None:
    proxy.set(fault)
    for call in (hasty.put("a", b"x"), hasty.get("a"), hasty.dirs("")):
        async with asyncio.timeout(50 * TIGHT):
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await call


async def test_an_upload_that_stalls_is_unavailable(
    hasty: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_MIN_RATE", 1 << 30)
    proxy.set(Fault.STALL)
    async with asyncio.timeout(50 * TIGHT):
        with pytest.raises(StoreUnavailable, match="put a: no answer in time"):
            await hasty.put("a", BIG * 32)


async def test_a_download_cut_short_is_unavailable(
    store: S3Store, proxy: FaultProxy, backend: S3Backend
) -> None:
    backend.plant("a", BIG)
    proxy.cut_after = 100_000
    proxy.set(Fault.CUT, times=10)
    with pytest.raises(StoreUnavailable, match="get a: the connection"):
        await store.get("a")
    proxy.set(Fault.NONE)
    assert await store.get("a") == BIG


async def test_a_damaged_download_is_unavailable(store: S3Store, proxy: FaultProxy) -> None:
    await store.put("a", BIG)
    proxy.set(Fault.CORRUPT)
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.get("a")
    proxy.set(Fault.NONE)
    assert await store.get("a") == BIG


async def test_a_put_cancelled_before_the_server_has_it(
    store: S3Store, proxy: FaultProxy, backend: S3Backend
) -> None:
    proxy.set(Fault.BLACKHOLE)
    task = asyncio.create_task(store.put("a", b"x"))
    await proxy.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.raw() == {}
    proxy.set(Fault.NONE)
    await store.put("a", b"x")


async def test_a_put_cancelled_after_the_server_has_it(
    store: S3Store, proxy: FaultProxy, backend: S3Backend
) -> None:
    proxy.set(Fault.HELD_ACK)
    task = asyncio.create_task(store.put("a", b"x"))
    await proxy.answered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.raw() == {"a": b"x"}
    proxy.set(Fault.NONE)
    await store.put("a", b"x")


async def every_call_raises(store: S3Store, kind: type[StoreError], match: str) -> None:
    async def listing() -> None:
        async for _ in store.objects(""):
            pass

    for call in (store.put("a", b"x"), store.get("a"), store.dirs(""), store.delete("a"), listing()):
        with pytest.raises(kind, match=match) as caught:
            await call
        assert type(caught.value) is kind
        assert BUCKET.split("-", maxsplit=1)[0] in caught.value.message
        assert SECRET_KEY not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"
    await store.close()


async def test_a_bucket_that_does_not_exist(backend: S3Backend) -> None:
    store = S3Store("syncd-nowhere", endpoint_url=backend.server.endpoint_url)
    await every_call_raises(store, StoreRefused, "the bucket does not exist .create it")


async def test_a_wrong_secret(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = S3Store(BUCKET, endpoint_url=seaweedfs.endpoint_url)
    await every_call_raises(store, StoreRefused, "the secret does not belong to the access key")


async def test_an_unknown_key(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    store = S3Store(BUCKET, endpoint_url=seaweedfs.endpoint_url)
    await every_call_raises(store, StoreRefused, "the access key is unknown")


async def test_credentials_that_are_mended_in_their_file(
    seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, s3_prefix: str
) -> None:
    def write(secret: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n")

    file = tmp_path / "credentials"
    write("wrong")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = S3Store(BUCKET, s3_prefix, endpoint_url=seaweedfs.endpoint_url)
    for _ in range(2):
        with pytest.raises(StoreRefused, match="the secret does not belong"):
            await store.put("a", b"x")
    write(SECRET_KEY)
    await store.put("a", b"x")
    assert await store.get("a") == b"x"
    await store.close()


async def test_no_credentials_at_all(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = S3Store(BUCKET, endpoint_url=seaweedfs.endpoint_url)
    await every_call_raises(store, StoreRefused, "NoCredentialsError")


async def test_a_profile_that_does_not_exist(seaweedfs: S3Server) -> None:
    store = S3Store(BUCKET, endpoint_url=seaweedfs.endpoint_url, profile="nobody")
    await every_call_raises(store, StoreRefused, "ProfileNotFound")


async def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, not listening: connecting is refused
        taken.bind(("127.0.0.1", 0))
        store = S3Store(BUCKET, endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}", attempts=1)
        await every_call_raises(store, StoreUnavailable, "cannot connect")


async def test_something_else_listens() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = S3Store(BUCKET, endpoint_url=f"http://127.0.0.1:{port}", attempts=1)
        await every_call_raises(store, StoreRefused, "does not speak S3")


async def test_a_store_can_be_closed_unused_and_twice(backend: S3Backend) -> None:
    store = S3Store(BUCKET, backend.prefix, endpoint_url=backend.server.endpoint_url)
    await store.close()
    with pytest.raises(ObjectNotFound):
        await store.get("a")
    await store.close()
    await store.close()


async def test_after_throttling_a_clock_that_jumps_back_holds_nothing_up(
    backend: S3Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's adaptive mode counts tokens by the wall clock, and would wait for the years to pass."""
    true_time = time.time
    async with HttpProxy(backend.server.port) as proxy:
        store = S3Store(BUCKET, backend.prefix, endpoint_url=proxy.url, attempts=2)
        try:
            await store.put("before", b"")
            monkeypatch.setattr(time, "time", lambda: true_time() + 86400 * 365)
            await proxy.set(error=1.0, codes=[503])
            with pytest.raises(StoreUnavailable):
                await store.put("a", b"mine")
            monkeypatch.undo()
            await proxy.set(clear=True)
            async with asyncio.timeout(8):
                await store.put("a", b"mine")
        finally:
            await store.close()
    assert backend.raw()["a"] == b"mine"
