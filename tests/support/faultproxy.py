"""A TCP proxy on loopback that misbehaves as told, to stand before a real server.

- `Proxy` is the listener; what it does with a connection is its subclasses' business: `FaultProxy`
  here, on bytes, and `httpproxy.HttpProxy`, on requests.
- `fault` holds from the moment it is set, also for connections that are open already.
- A fault that ends a connection is used up by `times` of them; then the proxy passes again.
- `arrived` is set when bytes of a request reach the proxy, `answered` when the server's answer does:
  tests wait for these, not for time.
"""

import asyncio
import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from enum import Enum, auto
from types import TracebackType
from typing import Self

from typing_extensions import override

from tests.support.damage import flipped

_CHUNK = 64 * 1024
_CONTINUE = b"HTTP/1.1 100"  # only asks for the body; the answer comes after it


class Fault(Enum):
    """What the proxy does."""

    NONE = auto()
    LATENCY = auto()  # every chunk from the client waits `latency` seconds
    RESET = auto()  # the connection is reset when bytes of a request arrive
    BLACKHOLE = auto()  # bytes are read and go nowhere
    STALL = auto()  # bytes are not even read: the client's send buffer fills
    LOST_ACK = auto()  # the request is passed on, the connection reset before the answer
    HELD_ACK = auto()  # the request is passed on, the answer never comes
    CORRUPT = auto()  # a bit of every chunk of an answer's body is flipped; heads pass
    CUT = auto()  # the connection is reset after `cut_after` bytes of answers


class Proxy(ABC):
    """`async with Proxy(port) as proxy:` listens at `proxy.url` and serves every connection on its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._place = socket.socket()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return int(self._place.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def accept(self) -> None:
        """Listen; again on the same port after `refuse`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_port=True)

    async def refuse(self) -> None:
        """Reset what is open and refuse to connect. Nobody else gets the port meanwhile."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await self._end_all()
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self._place.close()

    async def _end_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connection(reader, writer)
        except asyncio.CancelledError:
            reset(writer)  # and no more: asyncio's server would log the cancellation as an error
        finally:
            self._tasks.discard(task)

    @abstractmethod
    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""


class FaultProxy(Proxy):
    """Passes on to `port`, chunk by chunk, and does what `fault` says."""

    def __init__(self, port: int, *, latency: float = 0.0, cut_after: int = 0) -> None:
        super().__init__(port)
        self.fault = Fault.NONE
        self.times = 1
        self.latency = latency
        self.cut_after = cut_after
        self.arrived = asyncio.Event()
        self.answered = asyncio.Event()
        self.faults_done = 0
        self._answer_bytes = 0

    def set(self, fault: Fault, *, times: int = 1) -> None:
        self.fault, self.times = fault, times
        self._answer_bytes = 0
        self.arrived.clear()
        self.answered.clear()

    @override
    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        halves = [
            asyncio.create_task(self._requests(reader, upstream_writer)),
            asyncio.create_task(self._answers(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            if any(half.done() and not half.cancelled() and half.exception() for half in halves):
                reset(writer)
            for each in (writer, upstream_writer):
                each.close()  # both before the first await: closing the proxy cancels us there
            await asyncio.gather(*halves, return_exceptions=True)
            for each in (writer, upstream_writer):
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _requests(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        if self.fault is Fault.STALL:
            await asyncio.Event().wait()
        while chunk := await _read(reader):
            self.arrived.set()
            match self.fault:
                case Fault.RESET:
                    self._drop()
                case Fault.BLACKHOLE:
                    continue
                case Fault.STALL:
                    await asyncio.Event().wait()
                case Fault.LATENCY:
                    await asyncio.sleep(self.latency)
                case _:
                    pass
            upstream.write(chunk)
            await upstream.drain()

    async def _answers(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await _read(upstream):
            chunk = received
            if not chunk.startswith(_CONTINUE):
                self.answered.set()
                match self.fault:
                    case Fault.LOST_ACK:
                        self._drop()
                    case Fault.HELD_ACK:
                        await asyncio.Event().wait()
                    case Fault.CORRUPT if not chunk.startswith(b"HTTP/"):
                        chunk = flipped(chunk)
                    case Fault.CUT:
                        room = self.cut_after - self._answer_bytes
                        self._answer_bytes += len(chunk)
                        if len(chunk) > room:
                            writer.write(chunk[:room])
                            await writer.drain()
                            self._drop()
                    case _:
                        pass
            writer.write(chunk)
            await writer.drain()

    def _drop(self) -> None:
        self.faults_done += 1
        self.times -= 1
        if self.times <= 0:
            self.fault = Fault.NONE
        raise _Dropped


class _Dropped(Exception):
    """The fault is to end this connection."""


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK)
    except ConnectionError:
        return b""


def reset(writer: asyncio.StreamWriter) -> None:
    """Let closing send RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is closed already
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
