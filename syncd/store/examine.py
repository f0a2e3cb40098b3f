"""Questions to a bucket that backing up does not ask, answered by trying; for `syncd doctor`.

- A put whose checksum is wrong must be refused. A server that takes it does not look at checksums: what it
  took stays under a name of its own, and makes every later question find the name used.
- The writer should neither overwrite nor delete: it tries with an object made for that.
- Who has no credentials must neither list nor read.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore import exceptions as sdk

from syncd.store.probe import PROBE_NAME
from syncd.store.s3 import S3Store
from syncd.store.s3errors import map_errors

CHECKSUM_NAME: Final = f"{PROBE_NAME}-checksum"
OVERWRITE_NAME: Final = f"{PROBE_NAME}-overwrite"

_DATA: Final = b"syncd asks here whether this store compares checksums.\n"
_WRONG: Final = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # SHA-256 of nothing


class Examiner(S3Store):
    """A bucket, as `S3Store` reaches it, that is asked more than that."""

    async def compares_checksums(self, below: str) -> bool:
        """Whether the server refuses what arrives damaged. `below` is a directory with its slash.

        Raises StoreError where that cannot be found out.
        """
        client = await self._connected()
        with map_errors(self._where, "put with a wrong checksum"):
            try:
                await client.put_object(
                    Bucket=self._bucket,
                    Key=f"{self._prefix}{below}{CHECKSUM_NAME}",
                    Body=_DATA,
                    IfNoneMatch="*",
                    ChecksumSHA256=_WRONG,
                )
            except sdk.ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status in {400, 412}:
                    return bool(status == 400)
                raise
        return False

    async def takes_away(self, below: str) -> tuple[str, ...]:
        """Which of `overwrite` and `delete` these credentials may. Raises StoreError."""
        client = await self._connected()
        place = {"Bucket": self._bucket, "Key": f"{self._prefix}{below}{OVERWRITE_NAME}"}
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "overwrite": lambda: client.put_object(**place, Body=_DATA),
            "delete": lambda: client.delete_object(**place),
        }
        return tuple([what for what, call in calls.items() if await self._passes(what, call)])

    async def open_to_all(self, below: str) -> tuple[str, ...]:
        """What somebody without credentials may do there: `list`, `read`. Raises StoreError."""
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                AioSession().create_client(
                    "s3",
                    region_name=self._region or "us-east-1",
                    endpoint_url=self._endpoint_url or None,
                    config=AioConfig(
                        signature_version=UNSIGNED,
                        connect_timeout=self._timeout,
                        read_timeout=self._timeout,
                        retries={"total_max_attempts": self._attempts},
                        s3={"addressing_style": "path" if self._endpoint_url else "auto"},
                    ),
                )
            )
            key = f"{self._prefix}{below}{PROBE_NAME}"
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "list": lambda: client.list_objects_v2(Bucket=self._bucket, MaxKeys=1),
                "read": lambda: client.head_object(Bucket=self._bucket, Key=key),
            }
            return tuple([what for what, call in calls.items() if await self._passes(what, call)])

    async def _passes(self, what: str, call: Callable[[], Awaitable[Any]]) -> bool:
        with map_errors(self._where, f"try to {what}"):
            try:
                await call()
            except sdk.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in {401, 403}:
                    return False
                raise
        return True
