"""A running daemon takes requests from the command line: a socket in its state directory.

- One connection, one request, one answer; each a line of JSON. Who may enter the state directory (mode
  0700) may ask.
- The socket is bound and found by the directory's descriptor: a path of any length will do.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from syncd.errors import StateError, SyncdError, error_class

_NAME: Final = "control.sock"
_MOST_BYTES: Final = 1 << 16
_BACKLOG: Final = 16  # each try to accept without a free descriptor is as many lines of asyncio's log

Answer = Callable[[dict[str, Any]], Awaitable[Any]]


@asynccontextmanager
async def listening(state_dir: Path, answer: Answer) -> AsyncIterator[None]:
    """Answer requests while this lasts. `answer` gives plain data or raises SyncdError.

    Raises StateError where there can be no socket.
    """
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        serving.add(task)
        task.add_done_callback(serving.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError, ValueError):
                line = await reader.readline()
                writer.write(await _answered(answer, json.loads(line)))
                await writer.drain()
        finally:
            writer.close()

    with contextlib.ExitStack() as stack:
        try:
            directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, directory)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_NAME, dir_fd=directory)
            path = f"/proc/self/fd/{directory}/{_NAME}"
            # It begins below: a cancellation in between would leave it open.
            server = await asyncio.start_unix_server(
                serve, path, limit=_MOST_BYTES, backlog=_BACKLOG, start_serving=False
            )
        except OSError as e:
            raise StateError(
                f"state_dir {state_dir} cannot have a socket: {e.strerror}", hint="check state_dir"
            ) from e
        try:
            await server.start_serving()
            yield
        finally:
            server.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            with contextlib.suppress(OSError):  # the next daemon removes it
                os.unlink(_NAME, dir_fd=directory)


def ask(state_dir: Path, request: dict[str, object], *, patience: float | None = None) -> Any:
    """The daemon's answer, None where none runs. Raises what the daemon met.

    Waits as long as it takes, or `patience` seconds, and then raises TimeoutError.
    """
    try:
        directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            try:
                connection.connect(f"/proc/self/fd/{directory}/{_NAME}")
            except TimeoutError:
                raise
            except BlockingIOError as e:  # as many requests wait already as may
                raise TimeoutError from e
            except OSError:
                return None
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                raw = stream.readline()
    finally:
        os.close(directory)
    if not raw:
        raise StateError("the daemon stopped before it answered", hint="try again")
    reply = json.loads(raw)
    if "error" in reply:
        raise error_class(reply["exit_code"])(reply["error"], hint=reply["hint"])
    return reply["answer"]


async def _answered(answer: Answer, request: dict[str, Any]) -> bytes:
    try:
        reply: dict[str, Any] = {"answer": await answer(request)}
    except SyncdError as e:
        reply = {"error": e.message, "hint": e.hint, "exit_code": e.exit_code}
    return json.dumps(reply).encode() + b"\n"
