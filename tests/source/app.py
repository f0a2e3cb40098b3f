"""The parent's handle of an application process: another one, since POSIX locks belong to processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("child.py")


class App:
    """One process; `a` is the connection where none is named."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self, *pragmas: str, name: str = "a", path: str = "") -> "App":
        self._call(do="open", name=name, path=path or str(self.path))
        for pragma in pragmas:
            self.sql(f"PRAGMA {pragma}", name=name)
        return self

    def sql(self, statement: str, *values: object, name: str = "a") -> list[list[Any]]:
        rows: list[list[Any]] = self._call(do="sql", name=name, sql=statement, values=values)
        return rows

    def many(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        self._call(do="many", name="a", sql=statement, rows=rows)

    def serialize(self, to: Path) -> bytes:
        self._call(do="serialize", name="a", to=str(to))
        return to.read_bytes()

    def close(self, name: str = "a") -> None:
        """Close a connection; the process stays."""
        self._call(do="close", name=name)

    def kill(self) -> None:
        """A crash: nothing is closed, locks go with the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _call(self, **order: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AppError(answer["error"])
        return answer["ok"]


class AppError(Exception):
    """SQLite refused what the application asked."""
