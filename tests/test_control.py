"""Requests to a daemon over its socket: answers, and daemons that give none."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from syncd.control import ask, listening
from syncd.errors import StateError


async def test_answers_and_errors(tmp_path: Path) -> None:
    async def answer(request: dict[str, Any]) -> Any:
        if request["command"] == "fail":
            raise StateError("no", hint="never")
        return [request["command"]]

    async with listening(tmp_path, answer):
        assert await asyncio.to_thread(ask, tmp_path, {"command": "echo"}) == ["echo"]
        with pytest.raises(StateError, match=r"no \(never\)"):
            await asyncio.to_thread(ask, tmp_path, {"command": "fail"})
    assert ask(tmp_path, {"command": "echo"}) is None


async def nothing(_request: dict[str, Any]) -> Any:
    return None


async def test_where_there_can_be_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(StateError, match="none cannot have a socket: No such file"):
        await listening(tmp_path / "none", nothing).__aenter__()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        with pytest.raises(StateError, match="cannot have a socket: Input/output error"):
            await listening(tmp_path, nothing).__aenter__()
    async with listening(tmp_path, nothing):
        monkeypatch.setattr(os, "unlink", fail)
    assert (tmp_path / "control.sock").exists()


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    """As long as few have asked it accepts and is silent, later it does not even accept."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "control.sock"))
        silent.listen(1)
        for _ in range(4):
            with pytest.raises(TimeoutError):
                ask(tmp_path, {"command": "status"}, patience=0.05)
