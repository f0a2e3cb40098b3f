"""HTTP/1.1 messages as a proxy needs them: whole, as bytes, with their framing understood.

- Bodies have a Content-Length, are chunked (aws-chunked inside passes as it is), or go to the end of the
  connection; a body is kept with its framing, to be passed on unchanged.
- `Expect: 100-continue` is answered by whoever reads the request, and left out of what is passed on.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

_PIECE = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Pace = Callable[[int], Coroutine[object, object, None]]


class Broken(Exception):
    """The connection ended in the middle of a message, or what came is not HTTP."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: its first line, its header lines, its body with its framing."""

    start: bytes
    headers: tuple[bytes, ...]
    body: bytes = b""

    @property
    def raw(self) -> bytes:
        return b"\r\n".join([self.start, *self.headers, b"", b""]) + self.body

    @property
    def method(self) -> str:
        return self.start.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.start.split(b" ")[1].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.start.split(b" ", 2)[1])

    @property
    def closes(self) -> bool:
        return self.header("connection").lower() == "close"

    def header(self, name: str) -> str:
        """Its value; empty where there is none."""
        for line in self.headers:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").strip().lower() == name:
                return value.decode("latin-1").strip()
        return ""

    def without(self, name: str) -> "Message":
        kept = tuple(
            line for line in self.headers if line.partition(b":")[0].strip().lower() != name.encode()
        )
        return replace(self, headers=kept)

    def content(self) -> bytes:
        """The body without the framing of chunks."""
        if not self.is_chunked:
            return self.body
        parts, rest = [], self.body
        while rest:
            line, _, rest = rest.partition(b"\r\n")
            size = _chunk_size(line)
            if not size:
                break
            parts.append(rest[:size])
            rest = rest[size + 2 :]
        return b"".join(parts)

    def with_content(self, content: bytes) -> "Message":
        """The same with another body, of a length that is said."""
        plain = self.without("transfer-encoding").without("content-length")
        length = b"Content-Length: %d" % len(content)
        return replace(plain, headers=(*plain.headers, length), body=content)

    @property
    def is_chunked(self) -> bool:
        return self.header("transfer-encoding").lower().endswith("chunked")


def made_answer(status: int, reason: str, content: bytes = b"", *headers: str) -> Message:
    """An answer of our own."""
    start = f"HTTP/1.1 {status} {reason}".encode()
    return Message(start, tuple(line.encode("latin-1") for line in headers)).with_content(content)


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: Pace
) -> Message | None:
    """The next request; None where the connection ended before it. Raises Broken."""
    head = await _read_head(reader)
    if head is None:
        return None
    if head.header("expect").lower() == "100-continue":
        writer.write(_CONTINUE)
        head = head.without("expect")
    has_body = head.is_chunked or head.header("content-length")
    return replace(head, body=await _read_body(reader, head, pace)) if has_body else head


async def read_answer(reader: asyncio.StreamReader, method: str) -> Message:
    """The answer to a request of `method`, after any 1xx. Raises Broken."""
    while True:
        head = await _read_head(reader)
        if head is None:
            raise Broken("no answer")
        if head.status >= 200:
            break
    if method == "HEAD" or head.status in {204, 304}:
        return head
    return replace(head, body=await _read_body(reader, head, _at_once))


async def _read_head(reader: asyncio.StreamReader) -> Message | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as e:
        if e.partial:
            raise Broken("a head is cut") from e
        return None
    except (ConnectionError, asyncio.LimitOverrunError) as e:
        raise Broken(str(e)) from e
    start, *headers = raw[:-4].split(b"\r\n")
    if len(start.split(b" ", 2)) < 2:
        raise Broken(f"not HTTP: {start[:80]!r}")
    return Message(start, tuple(headers))


async def _read_body(reader: asyncio.StreamReader, head: Message, pace: Pace) -> bytes:
    try:
        if head.is_chunked:
            return await _read_chunks(reader, pace)
        length = head.header("content-length")
        if length:
            return await _read_exactly(reader, int(length), pace)
        return await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as e:
        raise Broken(f"a body is cut: {e}") from e


async def _read_chunks(reader: asyncio.StreamReader, pace: Pace) -> bytes:
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = _chunk_size(line)
        if not size:
            break
        parts.append(await _read_exactly(reader, size + 2, pace))
    while parts[-1] != b"\r\n":
        parts.append(await reader.readuntil(b"\r\n"))
    return b"".join(parts)


async def _read_exactly(reader: asyncio.StreamReader, length: int, pace: Pace) -> bytes:
    parts = []
    while length:
        piece = await reader.readexactly(min(length, _PIECE))
        await pace(len(piece))
        parts.append(piece)
        length -= len(piece)
    return b"".join(parts)


async def _at_once(_count: int) -> None:
    return


def _chunk_size(line: bytes) -> int:
    return int(line.split(b";", 1)[0].strip(), 16)
