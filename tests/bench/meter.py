"""What a tool sends to its store, counted the same way for every tool.

- `S3Meter` stands before a real server as a proxy and passes bytes on unchanged; it counts requests by
  kind, and bytes, and notes when each was answered (seconds of the wall clock).
- `FileMeter` looks at a directory: each file that appears is one PUT, of its size, answered when its name
  was given to it (ctime). Lists, reads and deletions cannot be seen there: they count as 0. What is
  deleted within a second of its making is not seen.
- `up` is what requests carry as bodies, without the framing and signatures of chunks; `wire` is everything
  in both directions, those and heads included, TCP and IP not.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import parse_qs, urlsplit

from tests.bench.meter_http import Framing, Message

_READ = 256 * 1024
_LOOK = 0.5
_START = 10.0
OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class Request:
    """One request and its answer: `kind` is PUT, LIST, GET, HEAD, DELETE or POST; answered `at`."""

    kind: str
    name: str
    status: int
    at: float
    up: int
    down: int
    wire: int


class Meter(Protocol):
    """Where requests are counted."""

    def requests(self) -> list[Request]:
        """All so far, in the order of their answers."""
        ...


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of a stretch of time, summed up."""

    puts: int = 0
    lists: int = 0
    others: int = 0
    up: int = 0
    wire: int = 0

    @property
    def requests(self) -> int:
        return self.puts + self.lists + self.others


def tally(requests: Iterable[Request], since: float = 0.0, until: float = float("inf")) -> Tally:
    """Of the requests that were answered in [since, until)."""
    inside = [each for each in requests if since <= each.at < until]
    puts = sum(each.kind == "PUT" for each in inside)
    lists = sum(each.kind == "LIST" for each in inside)
    return Tally(
        puts=puts,
        lists=lists,
        others=len(inside) - puts - lists,
        up=sum(each.up for each in inside),
        wire=sum(each.wire for each in inside),
    )


def kind_of(method: str, target: str) -> tuple[str, str]:
    """Kind and object's name of an S3 request in path style: a GET of the bucket itself is a LIST."""
    url = urlsplit(target)
    _, _, name = url.path.lstrip("/").partition("/")
    if method == "GET" and not name:
        return "LIST", ""
    if method == "POST" and "delete" in parse_qs(url.query, keep_blank_values=True):
        return "DELETE", ""
    return method, name


@dataclass(slots=True)
class _Connection:
    """What is under way on one connection."""

    done: list[Request]
    asked: deque[Message] = field(default_factory=deque)
    methods: deque[str] = field(default_factory=deque)

    def began(self, message: Message) -> None:
        self.asked.append(message)
        self.methods.append(message.first.split(" ", 1)[0])

    def answered(self, answer: Message) -> None:
        request = self.asked.popleft()
        method, target, _ = request.first.split(" ", 2)
        kind, name = kind_of(method, target)
        up = int(request.headers.get("x-amz-decoded-content-length", request.body))
        wire = request.wire + answer.wire
        self.done.append(Request(kind, name, answer.status, time.time(), up, answer.body, wire))


class S3Meter:
    """The proxy, on a thread of its own. Use as a context manager; `url` is where clients go."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._done: list[Request] = []
        self._strange: list[Exception] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> list[Request]:
        """Raises ValueError where something passed that was not understood."""
        if self._strange:
            raise ValueError(f"the meter saw what is not HTTP/1.1: {self._strange[0]}")
        return self._done[:]

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_START):
            raise TimeoutError("the meter did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._listen())

    async def _listen(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_READ)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, to_server = await asyncio.open_connection("127.0.0.1", self._upstream, limit=_READ)
        except OSError:
            writer.close()
            return
        connection = _Connection(self._done)
        requests = Framing(lambda _message: None, connection.began)
        replies = Framing(connection.answered, methods=connection.methods)
        try:
            async with asyncio.TaskGroup() as halves:
                halves.create_task(_pass_on(reader, to_server, requests))
                halves.create_task(_pass_on(answers, writer, replies))
        except* OSError:
            pass  # one side went away, as clients do; what was answered is counted
        except* (ValueError, IndexError) as group:
            self._strange += group.exceptions
        finally:
            to_server.close()
            writer.close()


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, framing: Framing) -> None:
    while data := await source.read(_READ):
        to.write(data)
        framing.feed(data)
        await to.drain()
    framing.close()
    if to.can_write_eof():
        to.write_eof()


class FileMeter:
    """Files below `directory`, looked at on a thread of its own. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[tuple[str, int], Request] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def requests(self) -> list[Request]:
        self._look()
        return sorted(self._seen.values(), key=lambda each: each.at)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_START)

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for path in _files(self._directory):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    name = path.relative_to(self._directory).as_posix()
                    put = Request("PUT", name, 200, stat.st_ctime, stat.st_size, 0, stat.st_size)
                    self._seen.setdefault((name, stat.st_ino), put)


def _files(directory: Path) -> Iterator[Path]:
    """Whole objects only: both tools write under another name first."""
    for path in directory.rglob("*"):
        if not path.name.startswith("~") and path.suffix != ".tmp" and path.is_file():
            yield path
