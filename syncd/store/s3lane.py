"""GET without the SDK's ceremony, which costs three times the CPU of the request itself.

- The SDK sends the first GET, and shows by it how the bucket is addressed and signed. Those after it are
  signed by the SDK's signer and go through its connections, with its TLS and proxies, and nothing else of it.
- Whatever is not a plain answer, whole and with the checksum that the server gives, is None: the SDK then
  asks again, with its retries and its errors. A refusal ends the lane: the SDK may know why.
- Reading twice does no harm, so nothing is lost by trying.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.utils import percent_encode

_SIGNED: Final = "AWS4-HMAC-SHA256 Credential="
_NOT_FOUND: Final = 404
_REFUSALS: Final = range(300, 500)


class Lane:
    """One bucket's; `client` and `session` are the SDK's."""

    def __init__(self, client: Any, session: Any) -> None:
        self._session = session
        self._send = client._endpoint.http_session.send  # noqa: SLF001  # the SDK has no other name for it
        self._wanted = ""
        self._base = ""
        self._region = ""
        self._open = True
        client.meta.events.register("before-send.s3.GetObject", self._learn)

    async def get(self, key: str, coming: Callable[[int], None]) -> bytes | None:
        """The object's bytes, or None: ask the SDK. `coming` is told how many bytes there will be."""
        path = percent_encode(key, safe="/~")
        if not (self._open and self._base):
            self._wanted = path
            return None
        try:
            answer = await self._send(await self._signed(self._base + path))
            coming(int(answer.headers.get("content-length", 0)))
            data: bytes = await answer.content
        except (BotoCoreError, aiohttp.ClientError, OSError):
            return None
        status = answer.status_code
        if status in _REFUSALS and status != _NOT_FOUND:
            self._open = False
        return data if status == 200 and _is_whole(answer.headers, data) else None

    async def _signed(self, url: str) -> Any:
        credentials = await self._session.get_credentials()
        request = AWSRequest("GET", url, headers={"x-amz-checksum-mode": "ENABLED"})
        S3SigV4Auth(await credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        prepared = request.prepare()
        prepared.stream_output = True  # the headers first, the body when it is asked for
        return prepared

    def _learn(self, request: Any, **_: Any) -> None:
        """The event before the SDK sends a GET."""
        signed = request.headers.get("Authorization", "")
        signed = signed.decode() if isinstance(signed, bytes) else signed
        if self._wanted and request.url.endswith(f"/{self._wanted}") and signed.startswith(_SIGNED):
            self._base = request.url.removesuffix(self._wanted)
            self._region = signed.partition(",")[0].split("/")[-3]


def _is_whole(headers: Mapping[str, str], data: bytes) -> bool:
    given = headers.get("x-amz-checksum-sha256", "")
    # Of an object that was put in parts it is a checksum of checksums; syncd puts none.
    return not given or given == base64.b64encode(hashlib.sha256(data).digest()).decode()
