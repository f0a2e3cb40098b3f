"""The meter counts what passes, whatever the pieces in which it passes."""

import http.client
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.bench.meter import FileMeter, S3Meter, kind_of, tally
from tests.bench.meter_http import Framing, Message

REQUESTS = (
    b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
    b"PUT /b/k2 HTTP/1.1\r\ntransfer-ENCODING: chunked\r\n\r\n"
    b"3;ext=1\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n"
    b"HEAD /b/k HTTP/1.1\r\n\r\n"
)
ANSWERS = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    for begin, end in pairwise(edges):
        yield data[begin:end]


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_requests_in_any_pieces(places: list[int]) -> None:
    began: list[Message] = []
    ended: list[Message] = []
    framing = Framing(ended.append, began.append)
    for piece in cut(REQUESTS, places):
        framing.feed(piece)
    assert [message.first.split()[0] for message in began] == ["PUT", "GET", "PUT", "HEAD"]
    assert [message.body for message in ended] == [5, 0, 19, 0]
    assert sum(message.wire for message in ended) == len(REQUESTS)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_answers_in_any_pieces(places: list[int]) -> None:
    ended: list[Message] = []
    framing = Framing(ended.append, methods=deque(["PUT", "GET", "DELETE", "HEAD"]))
    for piece in cut(ANSWERS, places):
        framing.feed(piece)
    assert [message.status for message in ended] == [200, 200, 204, 200]
    assert [message.body for message in ended] == [0, 2, 0, 0]


def test_an_answer_that_ends_with_the_connection() -> None:
    ended: list[Message] = []
    framing = Framing(ended.append, methods=deque(["GET"]))
    framing.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert not ended
    framing.close()
    assert [message.body for message in ended] == [5]


def test_a_head_that_does_not_end() -> None:
    framing = Framing(lambda _message: None)
    with pytest.raises(ValueError, match="does not end"):
        framing.feed(b"x" * (2 << 20))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/bucket?list-type=2&prefix=a%2F", ("LIST", "")),
        ("GET", "/bucket/", ("LIST", "")),
        ("GET", "/bucket/a/b", ("GET", "a/b")),
        ("PUT", "/bucket/a/b?partNumber=1&uploadId=x", ("PUT", "a/b")),
        ("POST", "/bucket/?delete", ("DELETE", "")),
        ("POST", "/bucket/a?uploads", ("POST", "a")),
    ],
)
def test_kinds_of_requests(method: str, target: str, expected: tuple[str, str]) -> None:
    assert kind_of(method, target) == expected


class Answering(BaseHTTPRequestHandler):
    """Takes what it is given, and gives three bytes."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"abc")

    @override
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_proxy_counts_and_changes_nothing() -> None:
    began = time.time()
    with serving() as port, S3Meter(port) as meter:
        connection = http.client.HTTPConnection("127.0.0.1", meter.port, timeout=10)
        connection.request("PUT", "/bucket/x/one", body=b"y" * 300_000)
        assert connection.getresponse().read() == b""
        headers = {"x-amz-decoded-content-length": "7"}
        connection.request("PUT", "/bucket/x/two", body=b"y" * 20, headers=headers)
        assert connection.getresponse().read() == b""
        connection.request("GET", "/bucket?list-type=2")
        assert connection.getresponse().read() == b"abc"
        connection.close()
        requests = meter.requests()
    assert [(each.kind, each.name, each.up, each.down) for each in requests] == [
        ("PUT", "x/one", 300_000, 0),
        ("PUT", "x/two", 7, 0),
        ("LIST", "", 0, 3),
    ]
    sums = tally(requests, began)
    assert (sums.puts, sums.lists, sums.others, sums.requests, sums.up) == (2, 1, 0, 3, 300_007)
    assert sums.wire > 300_020
    assert tally(requests, until=began).requests == 0


def test_what_is_no_http_is_told() -> None:
    with serving() as port, S3Meter(port) as meter:
        connection = http.client.HTTPConnection("127.0.0.1", meter.port, timeout=10)
        connection.request("PUT", "/bucket/x", headers={"Content-Length": "no number"})
        with pytest.raises(OSError):  # noqa: PT011 -- reset, or closed without an answer
            connection.getresponse()
        connection.close()
        with pytest.raises(ValueError, match="not HTTP"):
            meter.requests()


def test_files_are_puts_and_temporary_ones_are_not(tmp_path: Path) -> None:
    with FileMeter(tmp_path / "archive") as meter:
        assert meter.requests() == []
        (tmp_path / "archive" / "deltas").mkdir(parents=True)
        (tmp_path / "archive" / "deltas" / "1").write_bytes(b"12345")
        (tmp_path / "archive" / "deltas" / "~2").write_bytes(b"12345")
        (tmp_path / "archive" / "3.ltx.tmp").write_bytes(b"12345")
        (put,) = meter.requests()
        assert (put.kind, put.name, put.up) == ("PUT", "deltas/1", 5)
        (tmp_path / "archive" / "deltas" / "1").unlink()
        assert meter.requests() == [put]
