"""Where HTTP/1.1 messages begin and end in a stream of bytes that somebody else passes on.

- Pure and incremental: `feed` takes whatever arrived and calls back; nothing of a body is kept.
- Bodies end by Content-Length, by the last chunk, or with the connection (`close`).
- A 1xx answer is not an answer.
- `wire` is everything that belongs to a message, head included; `body` what is between head and end,
  framing of chunks left out.
"""

import enum
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_BLANK = b"\r\n\r\n"
_MOST_HEAD = 1 << 20


@dataclass(slots=True)
class Message:
    """A request or an answer: its first line, its headers (names in lower case) and its sizes in bytes."""

    first: str
    headers: Mapping[str, str]
    body: int = 0
    wire: int = 0

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split(" ", 2)[1])


class _State(enum.Enum):
    HEAD = enum.auto()
    SIZED = enum.auto()
    CHUNK_SIZE = enum.auto()
    CHUNK = enum.auto()
    TRAILER = enum.auto()
    UNTIL_CLOSE = enum.auto()


@dataclass(slots=True)
class Framing:
    """One direction of a connection. Raises ValueError for what is not HTTP/1.1."""

    ended: Callable[[Message], None]
    began: Callable[[Message], None] = lambda _message: None
    # The methods of the requests that are to be answered, oldest first; None in the direction of requests.
    methods: deque[str] | None = None
    _state: _State = _State.HEAD
    _kept: bytearray = field(default_factory=bytearray)
    _left: int = 0
    _message: Message = field(default_factory=lambda: Message("", {}))

    def feed(self, data: bytes) -> None:
        """What came next."""
        rest = memoryview(data)
        while rest:
            taken = self._take(rest)
            rest = rest[taken:]

    def close(self) -> None:
        """Nothing more comes."""
        if self._state is _State.UNTIL_CLOSE:
            self._end()

    def _take(self, data: memoryview) -> int:
        match self._state:
            case _State.HEAD:
                return self._line(data, _BLANK, self._head)
            case _State.CHUNK_SIZE:
                return self._line(data, b"\r\n", self._chunk)
            case _State.TRAILER:
                return self._line(data, b"\r\n", self._trailer)
            case _State.UNTIL_CLOSE:
                return self._body(len(data))
            case _State.SIZED | _State.CHUNK:
                return self._sized(data)

    def _line(self, data: memoryview, ending: bytes, then: Callable[[bytes], None]) -> int:
        """Keep bytes until `ending` is there. Returns how many of `data` belonged to it."""
        before = len(self._kept)
        self._kept += data[:_MOST_HEAD]
        at = self._kept.find(ending, max(0, before - len(ending) + 1))
        if at < 0:
            if len(self._kept) >= _MOST_HEAD:
                raise ValueError("a head that does not end")
            return min(len(data), _MOST_HEAD)
        line = bytes(self._kept[:at])
        self._kept.clear()
        taken = at + len(ending)
        self._message.wire += taken
        then(line)
        return taken - before

    def _head(self, raw: bytes) -> None:
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._message = Message(first, headers, wire=len(raw) + len(_BLANK))
        if self.methods is None:
            self.began(self._message)
            self._frame(bodiless=False, to_the_end=False)
        elif self._message.status // 100 == 1:
            self._message = Message("", {})
        else:
            method = self.methods.popleft() if self.methods else ""
            self._frame(bodiless=method == "HEAD" or self._message.status in {204, 304}, to_the_end=True)

    def _frame(self, *, bodiless: bool, to_the_end: bool) -> None:
        headers = self._message.headers
        if bodiless:
            self._end()
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._state = _State.CHUNK_SIZE
        elif "content-length" in headers or not to_the_end:
            self._left = int(headers.get("content-length", "0"))
            self._state = _State.SIZED
            if not self._left:
                self._end()
        else:
            self._state = _State.UNTIL_CLOSE

    def _chunk(self, line: bytes) -> None:
        size = int(line.partition(b";")[0], 16)
        self._left = size + 2  # its data, and CRLF
        self._message.body -= 2 if size else 0
        self._state = _State.CHUNK if size else _State.TRAILER

    def _trailer(self, line: bytes) -> None:
        if not line:
            self._end()

    def _sized(self, data: memoryview) -> int:
        taken = self._body(min(self._left, len(data)))
        self._left -= taken
        if not self._left:
            if self._state is _State.SIZED:
                self._end()
            else:
                self._state = _State.CHUNK_SIZE
        return taken

    def _body(self, size: int) -> int:
        self._message.body += size
        self._message.wire += size
        return size

    def _end(self) -> None:
        message, self._message = self._message, Message("", {})
        self._state = _State.HEAD
        self.ended(message)
