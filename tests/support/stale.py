"""Listings of a bucket as they were some seconds ago: what an S3 that is consistent only in the end says.

- What was created since is left out, what was deleted since is there still: as far as it was created
  and deleted through the proxy that tells `Past`.
- Of a listing with a delimiter only the objects are set back, not the common prefixes.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.http1 import Message

_ROW = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_TOKEN = re.compile(rb"<NextContinuationToken>(.*?)</NextContinuationToken>")
_FIRST_ROW = re.compile(rb"(?=<Contents>|<CommonPrefixes>|</ListBucketResult>)")


@dataclass(slots=True)
class _Object:
    created: float
    row: bytes
    deleted: float | None = None


@dataclass(slots=True)
class Past:
    """What was done to one bucket; times are those of `clock`, in seconds."""

    clock: Callable[[], float] = time.monotonic
    _objects: dict[str, _Object] = field(default_factory=dict)
    _ends: dict[str, str] = field(default_factory=dict)  # the last name before each continuation

    def note(self, request: Message, answer: Message) -> None:
        """A request that was passed on, and its answer."""
        key, now = _key(request), self.clock()
        if request.method == "PUT" and answer.status == 200:
            self._objects[key] = _Object(now, _row(key, len(request.content())))
        elif request.method == "DELETE" and answer.status in {200, 204} and key in self._objects:
            self._objects[key].deleted = now

    def listing(self, request: Message, answer: Message, seconds: float) -> Message:
        """The answer to a listing, set back by `seconds`."""
        then = self.clock() - seconds
        body = answer.content()
        rows = {_key_of(row): row for row in _ROW.findall(body)}
        truncated = b"<IsTruncated>true" in body
        end = max(rows, default="") if truncated else "\U0010ffff"
        query = parse_qs(urlsplit(request.target).query)
        prefix, start = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        start = self._ends.get(query.get("continuation-token", [""])[0], start)
        if token := _TOKEN.search(body):
            self._ends[unescape(token[1].decode())] = end
        past = {key: row for key, row in rows.items() if not self._is_newer(key, then)}
        if "delimiter" not in query:
            past |= {
                key: each.row
                for key, each in self._objects.items()
                if each.created <= then and each.deleted is not None and each.deleted > then
                if key.startswith(prefix) and start < key <= end
            }
        stripped = _ROW.sub(b"", body)
        at = _FIRST_ROW.search(stripped)
        cut = at.start() if at else len(stripped)
        return answer.with_content(
            stripped[:cut] + b"".join(past[key] for key in sorted(past)) + stripped[cut:]
        )

    def _is_newer(self, key: str, then: float) -> bool:
        known = self._objects.get(key)
        return known is not None and known.created > then


def is_listing(request: Message) -> bool:
    """Whether it is a ListObjectsV2."""
    return request.method == "GET" and "list-type=2" in urlsplit(request.target).query.split("&")


def _key(request: Message) -> str:
    """The object's name in its bucket, of a request in path style."""
    return unquote(urlsplit(request.target).path).lstrip("/").partition("/")[2]


def _key_of(row: bytes) -> str:
    found = _KEY.search(row)
    return unquote(found[1].decode()) if found else ""


def _row(key: str, size: int) -> bytes:
    modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;0&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    ).encode()
