"""Requests to a daemon over its socket: answers, and daemons that give none."""

import asyncio
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


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    """As long as few have asked it accepts and is silent, later it does not even accept."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "control.sock"))
        silent.listen(1)
        for _ in range(4):
            with pytest.raises(TimeoutError):
                ask(tmp_path, {"command": "status"}, patience=0.05)
