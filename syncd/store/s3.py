"""S3, or anything that speaks it: `s3://bucket/prefix`, through aiobotocore.

- Creating is conditional (`If-None-Match: *`) and carries a SHA-256 that the server checks; `get`
  checks the one that the server gives back.
- The SDK repeats a request whose answer was lost, and then finds our own object in the way: after
  a 412 the object is read back, and the same bytes are a success. Whose it is cannot be told where
  the credentials may not read it (see adr/0008): ObjectUnread. A 409 is a race that has not ended.
- Every request has a deadline of its own: the SDK's `read_timeout` does not cover an upload that
  stalls. The deadline grows with the bytes, so that a slow line is not taken for a dead one.
- Credentials come from the usual AWS chain, again after they were rejected, and appear in no message.
- The SDK is imported here, in `s3errors` and `s3model` only, and only when an s3 URL is opened.
"""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from typing_extensions import override

from syncd import __version__
from syncd.errors import (
    ObjectExists,
    ObjectNotFound,
    ObjectUnread,
    StoreRefused,
    StoreUnavailable,
    StoreUnfit,
)
from syncd.store.base import (
    ObjectInfo,
    Store,
    check_directory,
    check_name,
    check_prefix,
    is_name,
    is_segment,
)
from syncd.store.s3errors import CREDENTIALS, map_errors
from syncd.store.s3model import loader, parse_time

_MIN_RATE: Final = 32 * 1024  # bytes a second that the slowest usable line moves
_CONNECT_TIMEOUT: Final = 10.0
_CONNECTIONS: Final = 32
_ATTEMPTS: Final = 3
_PAGE_SIZE: Final = 1000


class S3Store(Store):
    """Keeps objects in `bucket` below `prefix` (empty, or with its slash).

    `timeout` is in seconds, per request. `attempts` is how often the SDK sends a request in all,
    `page_size` how many rows a page of a listing may have.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str = "",
        region: str = "",
        profile: str = "",
        timeout: float = 60.0,
        attempts: int = _ATTEMPTS,
        page_size: int = _PAGE_SIZE,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._url = f"s3://{bucket}/{prefix.rstrip('/')}".rstrip("/")
        self._where = f"{self._url} at {endpoint_url}" if endpoint_url else self._url
        self._endpoint_url = endpoint_url
        self._region = region
        self._profile = profile
        self._timeout = timeout
        self._attempts = attempts
        self._page_size = page_size
        self._connecting = asyncio.Lock()
        self._open = contextlib.AsyncExitStack()
        self._client: Any = None
        self._rejected = False

    @override
    def __repr__(self) -> str:
        return f"S3Store({self._where})"

    @property
    @override
    def url(self) -> str:
        return self._url

    @override
    async def put(self, name: str, data: bytes) -> None:
        check_name(name)
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            with self._errors(f"put {name}"):
                async with asyncio.timeout(self._timeout + len(data) / _MIN_RATE):
                    client = await self._connected()
                    await client.put_object(
                        Bucket=self._bucket,
                        Key=self._prefix + name,
                        Body=data,
                        IfNoneMatch="*",
                        ChecksumSHA256=digest,
                    )
        except ObjectExists:
            await self._expect(name, data)

    async def _expect(self, name: str, data: bytes) -> None:
        """Tell our own object, acknowledged to nobody, from another's."""
        try:
            found = await self.get(name)
        except ObjectNotFound as error:
            raise StoreUnavailable(f"{self._where}: put {name}: another put of it has not ended") from error
        except StoreRefused as error:
            raise ObjectUnread(f"{self._where}: {name} exists, and may not be read") from error
        if found != data:
            raise ObjectExists(f"{self._where}: {name} was created before")

    @override
    async def get(self, name: str) -> bytes:
        check_name(name)
        with self._errors(f"get {name}"):
            async with asyncio.timeout(self._timeout) as limit:
                client = await self._connected()
                answer = await client.get_object(
                    Bucket=self._bucket, Key=self._prefix + name, ChecksumMode="ENABLED"
                )
                seconds = self._timeout + answer.get("ContentLength", 0) / _MIN_RATE
                limit.reschedule(asyncio.get_running_loop().time() + seconds)
                async with answer["Body"] as body:
                    data: bytes = await body.read()
        return data

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        check_prefix(prefix)
        if not after.startswith(prefix):
            if after > prefix:
                return
            after = ""
        last = ""
        nested: list[ObjectInfo] = []
        async for page in self._pages(prefix, start_after=_start_after(prefix, after)):
            for info in self._rows(page):
                if info.name <= after:
                    continue
                # Servers disagree on where a/b stands beside a-b, but not on names without a slash:
                # those before the first nested name are in order and go out at once.
                if nested or "/" in info.name[len(prefix) :]:
                    nested.append(info)
                    continue
                if info.name <= last:
                    raise StoreUnfit(f"{self._where}: list {prefix}: the server lists out of order")
                last = info.name
                yield info
        for info in sorted(nested, key=lambda info: info.name):
            yield info

    @override
    async def dirs(self, prefix: str) -> list[str]:
        check_directory(prefix)
        start = len(self._prefix + prefix)
        found = {
            str(row["Prefix"])[start:-1]
            async for page in self._pages(prefix, delimiter="/")
            for row in page.get("CommonPrefixes", ())
        }
        return sorted(filter(is_segment, found))

    @override
    async def delete(self, name: str) -> None:
        check_name(name)
        with contextlib.suppress(ObjectNotFound), self._errors(f"delete {name}"):
            async with asyncio.timeout(self._timeout):
                client = await self._connected()
                await client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    @override
    async def close(self) -> None:
        async with self._connecting:
            self._client = None
            await self._open.aclose()

    async def _pages(
        self, prefix: str, *, start_after: str = "", delimiter: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        request: dict[str, Any] = {
            "Bucket": self._bucket,
            "Prefix": self._prefix + prefix,
            "MaxKeys": self._page_size,
        }
        if start_after:
            request["StartAfter"] = self._prefix + start_after
        if delimiter:
            request["Delimiter"] = delimiter
        while True:
            with self._errors(f"list {prefix}"):
                async with asyncio.timeout(self._timeout):
                    client = await self._connected()
                    page: dict[str, Any] = await client.list_objects_v2(**request)
            yield page
            token = page.get("NextContinuationToken") if page.get("IsTruncated") else None
            if not token:
                return
            if token == request.get("ContinuationToken"):
                raise StoreUnfit(f"{self._where}: list {prefix}: the server repeats a page")
            request["ContinuationToken"] = token

    def _rows(self, page: dict[str, Any]) -> Iterator[ObjectInfo]:
        for row in page.get("Contents", ()):
            name = str(row["Key"])[len(self._prefix) :]
            if is_name(name):
                yield ObjectInfo(name, int(row["Size"]), round(row["LastModified"].timestamp() * 1000))

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            with map_errors(self._where, what):
                yield
        except StoreRefused as error:
            self._rejected = self._rejected or error.hint == CREDENTIALS
            raise

    async def _connected(self) -> Any:
        """The client with its pool of connections, made at the first request.

        And made anew where the credentials were rejected: somebody may have mended them in a file.
        """
        async with self._connecting:
            if self._rejected:
                self._client, self._rejected = None, False
                await self._open.aclose()
            if self._client is None:
                session = AioSession(profile=self._profile or None)
                session.register_component("data_loader", loader())
                session.get_component("response_parser_factory").set_parser_defaults(
                    timestamp_parser=parse_time
                )
                region = self._region or session.get_config_variable("region") or "us-east-1"
                config = AioConfig(
                    connect_timeout=min(_CONNECT_TIMEOUT, self._timeout),
                    read_timeout=self._timeout,
                    max_pool_connections=_CONNECTIONS,
                    # The SDK's own is spelt out anew for each request, which takes a tenth of it.
                    user_agent=f"syncd/{__version__}",
                    # Not "adaptive": that one's bucket of tokens counts by the wall clock, which may jump.
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                    s3={"addressing_style": "path" if self._endpoint_url else "auto"},
                )
                self._client = await self._open.enter_async_context(
                    session.create_client(
                        "s3", region_name=region, endpoint_url=self._endpoint_url or None, config=config
                    )
                )
        return self._client


def _start_after(prefix: str, after: str) -> str:
    """From where to ask for names, so that none greater than `after` is left out.

    SeaweedFS goes by path segments: a/b before a-b, and StartAfter=a-b leaves a/b out, though it is
    the greater name. That needs a character less than the slash where another name has the slash;
    so go back to the directory before the first such character. What this lists too often is
    filtered by the caller.
    """
    for position in range(len(prefix), len(after)):
        if after[position] < "/":
            end = after.rfind("/", 0, position) + 1
            return after[:end] if end > len(prefix) else ""
    return after
