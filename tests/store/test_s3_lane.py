"""GETs that go past the SDK, and what is left to it."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ConnectionClosedError, CredentialRetrievalError

from syncd.errors import ObjectNotFound
from syncd.store.s3 import S3Store
from syncd.store.s3lane import Lane
from tests.store.backends import S3Backend
from tests.support.servers import BUCKET

DATA = b"some bytes"
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
SIGNED = "AWS4-HMAC-SHA256 Credential=KEY/20261123/eu-central-1/s3/aws4_request, SignedHeaders=host"


@dataclass
class Answer:
    status_code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None

    @property
    async def content(self) -> bytes:
        if self.error:
            raise self.error
        return DATA


class Sdk:
    """Client and session in one; `answers` are those of the server."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers: Iterator[Answer | Exception] = iter(answers)
        self.sent: list[Any] = []
        self.token: str | Exception = "token"
        self.meta = SimpleNamespace(events=SimpleNamespace(register=self._register))
        self._endpoint = SimpleNamespace(http_session=SimpleNamespace(send=self._send))

    def show(self, url: str, signed: str | bytes = SIGNED) -> None:
        """Send a GET of the SDK's own."""
        self.learn(request=SimpleNamespace(url=url, headers={"Authorization": signed}))

    async def get_credentials(self) -> Any:
        return self

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if isinstance(self.token, Exception):
            raise self.token
        return ReadOnlyCredentials("KEY", "SECRET", self.token)

    def _register(self, event: str, handler: Any) -> None:
        assert event == "before-send.s3.GetObject"
        self.learn = handler

    async def _send(self, request: Any) -> Answer:
        self.sent.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def opened(sdk: Sdk, signed: str | bytes = SIGNED) -> Lane:
    lane = Lane(sdk, sdk)
    assert await lane.get("p/first", lambda _: None) is None
    sdk.show("https://b.example/p/first", signed)
    return lane


async def get(lane: Lane, key: str = "p/second") -> bytes | None:
    return await lane.get(key, lambda _: None)


@pytest.mark.parametrize("signed", [SIGNED, SIGNED.encode()])
async def test_the_sdk_shows_the_way_and_the_lane_goes_it(signed: str | bytes) -> None:
    sdk = Sdk(Answer(headers={"content-length": "10", "x-amz-checksum-sha256": SHA256}))
    lane = await opened(sdk, signed)
    sizes: list[int] = []
    assert await lane.get("p/b c", sizes.append) == DATA
    (request,) = sdk.sent
    assert request.url == "https://b.example/p/b%20c"
    assert request.method == "GET"
    assert request.headers["x-amz-checksum-mode"] == "ENABLED"
    assert request.headers["X-Amz-Security-Token"] == "token"
    assert "Credential=KEY/" in request.headers["Authorization"]
    assert "/eu-central-1/s3/aws4_request" in request.headers["Authorization"]
    assert sizes == [10]


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://b.example/p/other", SIGNED),
        ("https://b.example/xp/first", SIGNED),
        ("https://b.example/p/first?versionId=1", SIGNED),
        ("https://b.example/p/first", SIGNED.replace("AWS4-HMAC", "AWS4-ECDSA-P256")),
        ("https://b.example/p/first", ""),
    ],
)
async def test_what_it_does_not_understand_it_leaves(url: str, signed: str) -> None:
    sdk = Sdk()
    lane = Lane(sdk, sdk)
    sdk.show("https://b.example/early")
    assert await get(lane, "p/first") is None
    sdk.show(url, signed)
    assert await get(lane) is None
    assert sdk.sent == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404),
        Answer(500),
        Answer(503),
        Answer(headers={"x-amz-checksum-sha256": SHA256.swapcase()}),
        Answer(error=aiohttp.ClientPayloadError("cut off")),
        ConnectionClosedError(endpoint_url="https://b.example"),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=repr,
)
async def test_what_is_no_plain_answer_is_the_sdks_to_ask_again(answer: Answer | Exception) -> None:
    lane = await opened(Sdk(answer, Answer()))
    assert await get(lane) is None
    assert await get(lane) == DATA


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403])
async def test_a_refusal_ends_it(status: int) -> None:
    sdk = Sdk(Answer(status), Answer())
    lane = await opened(sdk)
    assert await get(lane) is None
    assert await get(lane) is None
    assert len(sdk.sent) == 1


async def test_credentials_that_cannot_be_had_are_the_sdks_to_tell() -> None:
    sdk = Sdk(Answer())
    lane = await opened(sdk)
    sdk.token = CredentialRetrievalError(provider="p", error_msg="x")
    assert await get(lane) is None
    assert sdk.sent == []


async def test_who_cancels_is_heard() -> None:
    lane = await opened(Sdk(Answer(error=None)))

    async def hang(_: Any) -> Any:
        await asyncio.Event().wait()

    lane._send = hang
    task = asyncio.ensure_future(get(lane))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("backend", ["seaweedfs", "ministack"], indirect=True)
async def test_on_a_server_the_second_get_is_the_lanes(
    backend: S3Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(BUCKET, backend.prefix, endpoint_url=backend.server.endpoint_url)
    try:
        for name, data in (("a", b"1"), ("b/c", b""), ("b/d", bytes(1 << 20))):
            await store.put(name, data)
        assert await store.get("a") == b"1"
        with monkeypatch.context() as patch:
            patch.setattr(await store._connected(), "get_object", None)
            assert await store.get("a") == b"1"
            assert await store.get("b/c") == b""
            assert await store.get("b/d") == bytes(1 << 20)
        with pytest.raises(ObjectNotFound):
            await store.get("none")
    finally:
        await store.close()
