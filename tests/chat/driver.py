"""A chat application under its driver, and a look at its log from outside.

The contract of a driver, `APP/run.sh DIR MESSAGES RATE`: it installs what is missing, starts the
application with its data in DIR, prints `DB PATH`, sends the messages, prints a JSON line of counts, and
some seconds later (LINGER in the environment) stops the application and ends.
"""

import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LINGER_SECONDS = 3
_LOOK_SECONDS = 0.01


class Driver:
    """One run. Use as a context manager: at its end the whole process group is gone."""

    def __init__(self, script: Path, directory: Path, *, messages: int, rate: float) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            ["/bin/bash", str(script), str(directory), str(messages), f"{rate:g}"],
            env=os.environ | {"LINGER": str(LINGER_SECONDS)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def database(self, seconds: float) -> Path:
        """The path that it prints, after installing. Raises RuntimeError, TimeoutError."""
        end = time.monotonic() + seconds
        while True:
            line = self._next(end)
            if line.startswith("DB "):
                break
        database = Path(line.removeprefix("DB "))
        while not database.parent.is_dir():  # the application makes it
            if time.monotonic() > end:
                raise TimeoutError(f"the application did not make {database.parent}")
            time.sleep(0.05)
        return database

    def counts(self, seconds: float) -> dict[str, Any]:
        """The JSON line. Raises RuntimeError, TimeoutError."""
        end = time.monotonic() + seconds
        while True:
            line = self._next(end)
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer

    def has_counts(self) -> bool:
        """Whether something was printed that was not asked for yet: the driver is done."""
        return not self._lines.empty()

    def end(self) -> None:
        """Wait until the application was stopped. Raises subprocess.TimeoutExpired."""
        self.process.wait(timeout=60 + LINGER_SECONDS)

    def _next(self, end: float) -> str:
        try:
            line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise TimeoutError("the driver is silent") from None
        if line is None:
            raise RuntimeError(f"the driver ended with exit code {self.process.wait()}")
        print(f"driver: {line}", flush=True)
        return line

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                if line.startswith(("DB ", "{")):
                    self._lines.put(line.strip())
        self._lines.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The application may outlive its driver's shell; the group is ours alone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(slots=True)
class LogWatch:
    """Looks at the application's log every 10 ms, by plain reads: frames written, and resets.

    What comes and goes between two looks is not counted, so both numbers are lower bounds.
    """

    database: Path
    frames: int = 0
    resets: int = 0
    journal_mode: str = "unknown"
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _watch(self) -> None:
        log, index = (Path(f"{self.database}{suffix}") for suffix in ("-wal", "-shm"))
        salts, reached = b"", 0
        while not self._done.wait(_LOOK_SECONDS):
            with contextlib.suppress(OSError, struct.error):
                # File format: byte 18 of the database is 2 in WAL mode, 1 in a rollback mode.
                version = _read(self.database, 1, 18)
                self.journal_mode = {b"\2": "WAL", b"\1": "rollback"}.get(version, self.journal_mode)
                now = _read(log, 8, 16)
                (frame,) = struct.unpack("=I", _read(index, 4, 16))  # mxFrame of the wal-index
                if salts and now and now != salts:
                    self.resets += 1
                    reached = 0
                salts = now or salts
                self.frames += max(0, frame - reached)
                reached = frame


def _read(path: Path, size: int, offset: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)
