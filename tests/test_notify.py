import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncd import notify


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@syncd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listening


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (notify.ready, "READY=1"),
        (lambda: notify.ready("up to date"), "READY=1\nSTATUS=up to date"),
        (lambda: notify.status("2 deltas wait"), "STATUS=2 deltas wait"),
        (lambda: notify.status(""), "STATUS= "),
        (lambda: notify.status("größe"), "STATUS=größe"),
        (lambda: notify.status("one\nREADY=1\r\ntwo"), "STATUS=one READY=1 two"),
        (notify.watchdog, "WATCHDOG=1"),
        (notify.stopping, "STOPPING=1"),
        (lambda: notify.stopping("draining"), "STOPPING=1\nSTATUS=draining"),
    ],
)
def test_one_datagram_per_call(manager: socket.socket, call: Callable[[], bool], message: str) -> None:
    assert call() is True
    assert manager.recv(4096).decode() == message


def test_a_reload_carries_the_time_of_its_beginning(manager: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notify.reloading("reading")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second, third = manager.recv(4096).decode().split("\n")
    assert (first, third) == ("RELOADING=1", "STATUS=reading")
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= after


def test_what_cannot_be_encoded_is_escaped(manager: socket.socket) -> None:
    assert notify.status(os.fsdecode(b"/srv/\xff.db"))
    assert manager.recv(4096) == b"STATUS=/srv/\\udcff.db"


@pytest.mark.parametrize("address", [None, "", "relative/path", "vsock:2:1234"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert [notify.ready(), notify.status("x"), notify.watchdog(), notify.stopping(), notify.reloading()] == [
        False
    ] * 5


def test_a_manager_that_is_gone_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify.ready() is False
    monkeypatch.setenv("NOTIFY_SOCKET", "/" + "x" * 200)
    assert notify.ready() is False


def test_a_manager_that_does_not_read_is_not_waited_for(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_SEND_TIMEOUT", 0.001)
    sent = 0
    while notify.watchdog():
        sent += 1
        assert sent < 100_000
    assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        (None, None, None),
        ("60000000", None, 30.0),
        ("60000000", "", 30.0),
        pytest.param("60000000", str(os.getpid()), 30.0, id="this process"),
        ("1500000", None, 0.75),
        ("60000000", "1", None),
        ("0", None, None),
        ("", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("9" * 30, None, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, interval: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_interval() == interval
