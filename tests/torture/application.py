"""The harness's hand on the application process, and its reading of the application's journal."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.campaigns.rig import ROOT

State = tuple[int, int, int]  # counter, rows, sum

_PATIENCE: Final = 120.0


class Application:
    """The writer of one database. Use as a context manager; at its end the process is gone."""

    def __init__(self, database: Path, journal: Path, *, mode: str, bulk_bytes: int, seed: int) -> None:
        self.database = database
        self.errors: list[str] = []
        self.last: dict[str, Any] = {}
        self._journal = journal
        self._options = ["--mode", mode, "--bulk-bytes", str(bulk_bytes), "--seed", str(seed)]
        self._states: set[State] = {(0, 0, 0)}
        self.is_writing = False
        self._read = 0
        self._newest = 0
        self._commits = 0

    @property
    def worst(self) -> dict[str, float]:
        """What the application measured of itself: milliseconds, and how often."""
        return {
            name: float(self.last.get(name, 0))
            for name in ("slowest_ms", "slowest_checkpoint_ms", "busy_checkpoints")
        }

    def start(self) -> None:
        """Start the process; its counter goes on where the last one's ended."""
        self._commits += int(self.last.get("commits", 0))
        self.states()
        command = [sys.executable, "-m", "tests.torture.writer", str(self.database), str(self._journal)]
        command += [*self._options, "--counter", str(self._newest)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def ask(self, do: str, **more: str) -> dict[str, Any]:
        """Have something done; an error of SQLite goes to `errors`. It does not write any more."""
        self.is_writing = False
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are the answer
        return self._answer()

    def write(self, style: str) -> None:
        """Write in this style until something else is asked for."""
        self.ask("style", name=style)
        self.is_writing = style != "silent"

    def kill(self) -> None:
        """SIGKILL."""
        self.is_writing = False
        self.process.kill()
        self.process.communicate()

    def mend(self) -> None:
        """Start it again where it ended by an error, which goes to `errors`."""
        if self.process.poll() in {None, -9}:
            return
        self._answer()
        self.process.communicate()
        self.start()
        self.write("single")

    def states(self) -> set[State]:
        """All that was committed so far, or is just being committed."""
        if self._journal.exists():
            with self._journal.open() as file:
                file.seek(self._read)
                while (line := file.readline()).endswith("\n"):
                    self._read += len(line)
                    _, counter, rows, total = line.split()
                    self._states.add((int(counter), int(rows), int(total)))
                    self._newest = max(self._newest, int(counter))
        return self._states

    @property
    def newest(self) -> int:
        """The newest counter in the journal."""
        self.states()
        return self._newest

    @property
    def commits(self) -> int:
        """By this process and those before it."""
        return self._commits + int(self.last.get("commits", 0))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.process.communicate(timeout=30)  # the end of stdin closes the application in order
        except subprocess.TimeoutExpired:
            self.kill()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the application ended"}
        if "error" in answer:
            self.errors.append(answer["error"])
            return answer
        for complaint in answer["complaints"]:
            if complaint not in self.errors:
                self.errors.append(complaint)
        self.last = answer
        return answer
