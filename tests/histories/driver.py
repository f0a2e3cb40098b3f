"""The test's side of the writer's protocol: one history, driven from Python."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Writer:
    """A history's process. Use as a context manager; `directory` must exist and is left as it is."""

    def __init__(self, directory: Path, seed: object, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.histories.writer", str(directory), str(seed), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.db = Path(self._answer()["db"])

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Send one command; raises RuntimeError with the writer's traceback when the history broke."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def run(self, steps: int, **more: Any) -> dict[str, Any]:
        return self.ask("run", steps=steps, **more)

    def op(self, *names: str) -> dict[str, Any]:
        """Run these operations, all of which must be possible now."""
        answer = self.ask("op", names=names)
        assert answer["ops"] == list(names), answer
        return answer

    def truth(self, to: Path) -> dict[str, Any]:
        return self.ask("truth", to=str(to))

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"ok": False, "error": "the writer ended"}
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The end of stdin closes the application in order; what hangs is killed.
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
