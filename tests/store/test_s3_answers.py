"""What no server at hand does: each error code, servers that page or sort wrongly, lost races."""

from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as sdk
from typing_extensions import override

from syncd.errors import (
    ObjectExists,
    ObjectNotFound,
    ObjectUnread,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    StoreUnfit,
)
from syncd.store.s3 import S3Store, _start_after
from syncd.store.s3errors import from_answer, map_errors


def answer(status: int, code: str = "") -> dict[str, Any]:
    return {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchBucket", StoreRefused),
        (404, "NoSuchKey", ObjectNotFound),
        (404, "404", StoreRefused),
        (403, "AccessDenied", StoreRefused),
        (403, "InvalidAccessKeyId", StoreRefused),
        (403, "SignatureDoesNotMatch", StoreRefused),
        (403, "RequestTimeTooSkewed", StoreRefused),
        (403, "SomethingNew", StoreRefused),
        (401, "Unauthorized", StoreRefused),
        (400, "ExpiredToken", StoreRefused),
        (400, "AuthorizationHeaderMalformed", StoreRefused),
        (301, "PermanentRedirect", StoreRefused),
        (307, "TemporaryRedirect", StoreRefused),
        (412, "PreconditionFailed", ObjectExists),
        (409, "ConditionalRequestConflict", StoreUnavailable),
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (502, "502", StoreUnavailable),
        (507, "XMinioStorageFull", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (400, "BadDigest", StoreUnavailable),
        (501, "NotImplemented", StoreUnfit),
        (400, "InvalidArgument", StoreError),
        (0, "", StoreError),
    ],
)
def test_every_answer_has_its_error(status: int, code: str, kind: type[StoreError]) -> None:
    error = from_answer("s3://b: put a", answer(status, code))
    assert type(error) is kind
    assert error.message.startswith("s3://b: put a: ")
    assert bool(error.hint) == (kind in {StoreRefused, StoreUnfit})


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (sdk.EndpointConnectionError(endpoint_url="http://x"), StoreUnavailable, "cannot connect"),
        (sdk.ConnectTimeoutError(endpoint_url="http://x"), StoreUnavailable, "in time"),
        (sdk.ReadTimeoutError(endpoint_url="http://x"), StoreUnavailable, "in time"),
        (sdk.ConnectionClosedError(endpoint_url="http://x"), StoreUnavailable, "closed early"),
        (sdk.SSLError(endpoint_url="http://x", error="x"), StoreUnavailable, "TLS failed"),
        (sdk.ProxyConnectionError(proxy_url="http://x"), StoreUnavailable, "ProxyConnectionError"),
        (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), StoreUnavailable, "closed early"),
        (sdk.FlexibleChecksumError(error_msg="x"), StoreUnavailable, "damaged"),
        (aiohttp.ClientPayloadError("x"), StoreUnavailable, "ClientPayloadError"),
        (OSError(24, "x"), StoreUnavailable, "OSError"),
        (TimeoutError(), StoreUnavailable, "in time"),
        (sdk.NoCredentialsError(), StoreRefused, "NoCredentialsError"),
        (sdk.CredentialRetrievalError(provider="p", error_msg="x"), StoreRefused, "CredentialRetrievalError"),
        (sdk.ProfileNotFound(profile="p"), StoreRefused, "ProfileNotFound"),
        (sdk.InvalidRegionError(region_name="-"), StoreRefused, "InvalidRegionError"),
        (sdk.DataNotFoundError(data_path="x"), StoreError, "DataNotFoundError"),
    ],
)
def test_every_failure_has_its_error(error: Exception, kind: type[StoreError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught, map_errors("s3://b", "get a"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_defects_pass_through() -> None:
    with pytest.raises(KeyError), map_errors("s3://b", "get a"):
        raise KeyError


class FakeClient:
    """Answers as told."""

    def __init__(self, *, pages: list[dict[str, Any]] | None = None) -> None:
        self.pages = list(pages or [])

    async def put_object(self, **_request: object) -> None:
        raise sdk.ClientError(answer(409, "ConditionalRequestConflict"), "PutObject")

    async def get_object(self, **_request: object) -> None:
        raise sdk.ClientError(answer(404, "NoSuchKey"), "GetObject")

    async def list_objects_v2(self, **_request: object) -> dict[str, Any]:
        return self.pages.pop(0)


def faked(client: FakeClient) -> S3Store:
    store = S3Store("b", "p/")
    store._client = client
    return store


def page(*names: str, token: str = "") -> dict[str, Any]:
    rows = [
        {"Key": f"p/{name}", "Size": 1, "LastModified": datetime(2026, 1, 2, tzinfo=UTC)} for name in names
    ]
    return {"Contents": rows, "IsTruncated": bool(token), "NextContinuationToken": token}


async def test_a_race_that_nobody_has_won_yet_is_worth_a_retry() -> None:
    with pytest.raises(StoreUnavailable, match="another put of it has not ended"):
        await faked(FakeClient()).put("a", b"x")


async def test_whose_object_it_is_stays_open_where_it_may_not_be_read() -> None:
    class Blind(FakeClient):
        @override
        async def put_object(self, **_request: object) -> None:
            raise sdk.ClientError(answer(412, "PreconditionFailed"), "PutObject")

        @override
        async def get_object(self, **_request: object) -> None:
            raise sdk.ClientError(answer(403, "AccessDenied"), "GetObject")

    with pytest.raises(ObjectUnread, match="a exists, and may not be read"):
        await faked(Blind()).put("a", b"x")


async def test_flat_names_come_page_by_page() -> None:
    client = FakeClient(pages=[page("a", "b", token="t"), page("c", "d/e", "d-f")])
    listing = faked(client).objects("")
    assert [(await anext(listing)).name for _ in range(2)] == ["a", "b"]
    assert len(client.pages) == 1
    rows = [info async for info in listing]
    assert [info.name for info in rows] == ["c", "d-f", "d/e"]
    assert rows[0].modified_ms == 1_767_312_000_000


async def test_a_server_without_order_is_unfit() -> None:
    with pytest.raises(StoreUnfit, match="out of order"):
        _ = [info async for info in faked(FakeClient(pages=[page("b", "a")])).objects("")]


async def test_a_server_that_repeats_a_page_is_unfit() -> None:
    client = FakeClient(pages=[page("a", token="t"), page("b", token="t")])
    with pytest.raises(StoreUnfit, match="repeats a page"):
        _ = [info async for info in faked(client).objects("")]


@pytest.mark.parametrize(
    ("prefix", "after", "start"),
    [
        ("", "", ""),
        ("d/", "d/000a", "d/000a"),
        ("g-1/d.d/", "g-1/d.d/000a", "g-1/d.d/000a"),
        ("", "d/000a.x", "d/"),
        ("", "d/a-b/c/e", "d/"),
        ("d/", "d/a-b", ""),
        ("d/a", "d/a-b", ""),
        ("", "a-b", ""),
    ],
)
def test_where_a_listing_starts(prefix: str, after: str, start: str) -> None:
    assert _start_after(prefix, after) == start
