"""A proxy on loopback that understands the requests of an S3 client, and misbehaves as `settings` say.

- What holds is looked at when a request has arrived whole.
- Shares are drawn for each request from one seeded generator. Faults exclude each other: the first
  that is drawn, in the order of `Settings`, is the one.
- `only` restricts every fault but `outage` and `bandwidth` to the requests in whose `METHOD target` it is
  found.
- Counts are since the start: requests by method as they arrived, faults by name as they were done.
"""

import asyncio
import hashlib
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from urllib.parse import urlsplit

from typing_extensions import override

from tests.support.faultproxy import Proxy, reset
from tests.support.http1 import Broken, Message, made_answer, read_answer, read_request
from tests.support.stale import Past, is_listing

_PIECE = 16 * 1024
_INSTEAD = {"reset", "error", "lost_put"}  # of passing on
_REASONS = {
    429: ("TooManyRequests", "Too Many Requests"),
    500: ("InternalError", "Internal Server Error"),
    503: ("SlowDown", "Service Unavailable"),
}


@dataclass
class Settings:
    """What the proxy does; as made, nothing but passing on. Shares are from 0 to 1."""

    outage: bool = False  # connections are refused, open ones reset
    hang: bool = False  # requests are neither passed on nor answered; reset when this ends
    reset: float = 0.0  # share of requests that are reset instead of passed on
    error: float = 0.0  # share that is answered with one of `codes` instead of passed on
    lost_put: float = 0.0  # share of PUTs that are answered with success instead of passed on
    lost_ack: float = 0.0  # share that is passed on, and reset instead of answered
    held_ack: float = 0.0  # share that is passed on, and not answered; reset at the next change
    cut: float = 0.0  # share whose answer's body ends in the middle, with the connection
    stale: float = 0.0  # listings are answered as they were so many seconds ago
    latency_ms: float = 0.0  # before a request is passed on
    bandwidth: float = 0.0  # bytes a second, of all connections and both directions together; 0 is no limit
    codes: list[int] = field(default_factory=lambda: [503])
    only: str = ""  # a regular expression


class HttpProxy(Proxy):
    """Passes whole requests on to `port` and whole answers back."""

    def __init__(self, port: int, *, seed: int = 0) -> None:
        super().__init__(port)
        self.settings = Settings()
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.lost: list[str] = []
        self.faulted = asyncio.Event()  # set with the first fault; tests wait for it
        self._rng = random.Random(seed)
        self._free_at = 0.0
        self._changed = asyncio.Event()
        self._past = Past()

    async def set(self, **changes: object) -> None:
        """Change settings by name; those not named stay, or with `clear=True` are as made.

        Raises ValueError for what there is not; then nothing is changed.
        """
        clear = changes.pop("clear", False)
        for name, value in changes.items():
            _check(name, value)
        for name, value in ((vars(Settings()) if clear else {}) | changes).items():
            setattr(self.settings, name, value)
        self._changed.set()
        self._changed = asyncio.Event()
        await (self.refuse() if self.settings.outage else self.accept())

    def counts(self) -> dict[str, object]:
        """Requests by method, faults by name, connections open now, the targets of the PUTs not kept."""
        return {
            "requests": dict(self.requests),
            "faults": dict(self.faults),
            "open": len(self._tasks),
            "lost": list(self.lost),
        }

    @override
    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = Upstream(self._port)
        try:
            while request := await read_request(reader, writer, self._pace):
                self.requests[request.method] += 1
                answer, whole = await self.answer_to(request, upstream)
                await self._send(answer.raw if whole else answer.raw[: -(len(answer.body) + 1) // 2], writer)
                if answer.closes or request.closes or not whole:
                    break
        except (Broken, OSError):
            reset(writer)
        finally:
            writer.close()
            upstream.close()

    async def answer_to(self, request: Message, upstream: "Upstream") -> tuple[Message, bool]:
        """What the client gets, and whether the whole of it. Raises Broken where that is a reset."""
        changed = self._changed
        await self._delay(request)
        fault, stale = self._draw(request), self.settings.stale
        if fault in _INSTEAD:
            self._count(fault)
        match fault:
            case "reset":
                raise Broken(fault)
            case "error":
                return self._refusal(request), True
            case "lost_put":
                return self._pretended(request), True
            case _:
                pass
        answer = await upstream.exchange(request)
        self._past.note(request, answer)
        if fault and fault not in _INSTEAD:
            self._count(fault)
        match fault:
            case "lost_ack":
                raise Broken(fault)
            case "held_ack":
                await changed.wait()
                raise Broken(fault)
            case "stale" if answer.status == 200:
                return self._past.listing(request, answer, stale), True
            case _:
                pass
        return answer, fault != "cut" or not answer.body

    async def _delay(self, request: Message) -> None:
        if self.settings.hang and self._concerns(request):
            self._count("hang")
            await self._changed.wait()
            raise Broken("hang")
        if self.settings.latency_ms and self._concerns(request):
            self._count("latency")
            await asyncio.sleep(self.settings.latency_ms / 1000)

    def _count(self, fault: str) -> None:
        self.faults[fault] += 1
        self.faulted.set()

    def _concerns(self, request: Message) -> bool:
        return re.search(self.settings.only, f"{request.method} {request.target}") is not None

    def _draw(self, request: Message) -> str:
        """The fault of this request; empty is none."""
        if not self._concerns(request):
            return ""
        settings = self.settings
        shares = {
            "reset": settings.reset,
            "error": settings.error,
            "lost_put": settings.lost_put if request.method == "PUT" else 0.0,
            "lost_ack": settings.lost_ack,
            "held_ack": settings.held_ack,
            "cut": settings.cut,
            "stale": 1.0 if settings.stale and is_listing(request) else 0.0,
        }
        return next((name for name, share in shares.items() if share and self._rng.random() < share), "")

    def _refusal(self, request: Message) -> Message:
        status = self._rng.choice(self.settings.codes)
        self.faults[str(status)] += 1
        code, reason = _REASONS.get(status, ("Refused", "Refused"))
        content = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>by the proxy</Message>"
            f"<Resource>{urlsplit(request.target).path}</Resource><RequestId>proxy</RequestId></Error>"
        )
        return made_answer(status, reason, content.encode(), "Content-Type: application/xml")

    def _pretended(self, request: Message) -> Message:
        self.lost.append(request.target)
        checksum = request.header("x-amz-checksum-sha256")
        etag = hashlib.md5(request.content(), usedforsecurity=False).hexdigest()
        more = [f"x-amz-checksum-sha256: {checksum}"] if checksum else []
        return made_answer(200, "OK", b"", f'ETag: "{etag}"', *more)

    async def _send(self, raw: bytes, writer: asyncio.StreamWriter) -> None:
        step = _PIECE if self.settings.bandwidth else max(1, len(raw))
        for start in range(0, len(raw), step):
            piece = raw[start : start + step]
            await self._pace(len(piece))
            writer.write(piece)
            await writer.drain()

    async def _pace(self, count: int) -> None:
        if self.settings.bandwidth:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self.settings.bandwidth
            await asyncio.sleep(self._free_at - now)


class Upstream:
    """The connection to the server that belongs to one of a client; made again where the server ended it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: Message) -> Message:
        """Raises Broken, OSError."""
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request.raw)
        await writer.drain()
        answer = await read_answer(reader, request.method)
        if answer.closes:
            self.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _check(name: str, value: object) -> None:
    known = {each.name: each for each in fields(Settings)}
    if name not in known:
        raise ValueError(f"no such setting: {name}")
    if known[name].type is float and not (isinstance(value, int | float) and value >= 0):
        raise ValueError(f"{name} is a number that is not negative")
    if known[name].type is bool and not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")
