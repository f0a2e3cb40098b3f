"""What campaigns, benchmarks and chat runs share: a daemon beside a database, a place for its archive.

- The daemon is a process of its own, started as a user starts it, and ended by its pid.
- Everything lies in one directory, which belongs to the caller.
- Its log is read by a thread and kept; it has one line per unit of work.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from rich.console import Console

from syncd.cli.init import init
from syncd.cli.status import run_status
from syncd.envelope.identity import Argon2Params
from syncd.log import Event
from tests.support import servers

ROOT = Path(__file__).parents[2]
NAME = "chat"
STORES = ("directory", "s3")
PATIENCE = 120.0
_CHEAP = Argon2Params(memory_kib=64, iterations=1, lanes=1)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Depot:
    """Where archives go: a bucket of a real server, or directories below each rig's own."""

    endpoint_url: str = ""

    def url(self, directory: Path) -> str:
        """A place that nobody else uses: the directory's name is part of it."""
        if self.endpoint_url:
            return f"s3://{servers.BUCKET}/{directory.name.strip('.')}"
        archive = directory / "archive"
        archive.mkdir()
        return archive.as_uri()


@contextlib.contextmanager
def open_depot(kind: str) -> Iterator[Depot]:
    """`directory`, or `s3`: SeaweedFS, with its credentials in our environment and our children's."""
    if kind == "directory":
        yield Depot()
        return
    with servers.seaweedfs() as server, patch.dict(os.environ, servers.s3_environ()):
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
            os.environ.pop(name, None)
        yield Depot(server.endpoint_url)


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A directory that goes with everything in it."""
    with tempfile.TemporaryDirectory(prefix=f"syncd-{prefix}-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@dataclass(frozen=True, slots=True)
class Rig:
    """One database and what `syncd init` made for it in `directory`."""

    directory: Path
    database: Path
    url: str
    endpoint_url: str
    config: Path
    kit: Path
    passphrase_file: Path

    @classmethod
    def make(
        cls,
        directory: Path,
        database: Path,
        depot: Depot,
        *,
        max_delay: str = "1s",
        max_bytes: str = "4MiB",
        drain: str = "60s",
    ) -> Self:
        rig = cls(
            directory=directory,
            database=database,
            url=depot.url(directory),
            endpoint_url=depot.endpoint_url,
            config=directory / "syncd.toml",
            kit=directory / "kit.txt",
            passphrase_file=directory / "passphrase",
        )
        rig.passphrase_file.write_text("correct horse battery staple\n")
        rig.passphrase_file.chmod(0o600)
        init(
            rig.config,
            name=NAME,
            database=database,
            target=rig.url,
            endpoint_url=rig.endpoint_url,
            kit=rig.kit,
            passphrase_file=rig.passphrase_file,
            params=_CHEAP,
            console=Console(file=StringIO()),
        )
        text = rig.config.read_text().replace('# drain = "10s"', f'drain = "{drain}"')
        text += f'\n[databases.{NAME}.batch]\nmax_delay = "{max_delay}"\nmax_bytes = "{max_bytes}"\n'
        rig.config.write_text(text)
        return rig

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "syncd.cli", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of syncd's commands, to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
        )

    def report(self) -> dict[str, Any]:
        """What `syncd status --json` prints; in this process, by the very same code. Raises SyncdError."""
        out = StringIO()
        with contextlib.redirect_stdout(out):
            run_status(self.config, as_json=True)
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    def status(self) -> dict[str, Any]:
        """The report's part on the database."""
        answer: dict[str, Any] = self.report()["databases"][NAME]
        return answer

    def stored(self) -> tuple[str, int] | None:
        """Generation and seq that `status` shows as stored; None where it shows none."""
        return stored_in(self.status())

    def is_level(self) -> bool:
        """Whether everything that was captured is stored."""
        status = self.status()
        captured = status["captured"]
        target = next(iter(status["targets"].values()), None)
        return bool(
            captured
            and captured["boundary"]
            and target
            and target["stored"]
            and target["stored"]["seq"] == captured["seq"]
            and not target["waiting_bytes"]
        )

    def wait_level(self, quiet: float, *, beyond: int = -1, patience: float = PATIENCE) -> None:
        """Wait until everything is stored, something behind seq `beyond` with it, and all was quiet.

        Raises TimeoutError.
        """
        end = time.monotonic() + patience
        since, seen = time.monotonic(), -1
        while time.monotonic() < end:
            now = time.monotonic()
            seq = (self.stored() or ("", -1))[1]
            if seq != seen or seq <= beyond or not self.is_level():
                since, seen = now, seq
            elif now - since >= quiet:
                return
            time.sleep(0.1)
        raise TimeoutError(f"not everything was stored within {patience:.0f} s: {self.status()}")


def stored_in(status: dict[str, Any]) -> tuple[str, int] | None:
    """Generation and stored seq of the one target in a status."""
    for target in status["targets"].values():
        if target["stored"]:
            return status["generation"], target["stored"]["seq"]
    return None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took: seconds of CPU, peak of its resident memory in MB (of 10^6 bytes)."""

    cpu_seconds: float
    peak_mb: float


def usage_of(pid: int) -> Usage:
    """Of a process that lives."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Usage((int(stat[11]) + int(stat[12])) / _TICKS, peak * 1024 / 1e6)


@dataclass(slots=True)
class Daemon:
    """`syncd run`, as a process. Use as a context manager; at its end the process is gone."""

    rig: Rig
    environ: dict[str, str] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    process: subprocess.Popen[bytes] = field(init=False)
    _reader: threading.Thread = field(init=False)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        with (self.rig.directory / "daemon.err").open("ab") as errors:
            self.process = subprocess.Popen(
                self.rig.command("run", "--config", str(self.rig.config)),
                cwd=ROOT,
                env=os.environ | self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(timeout=10)

    def stop(self, patience: float = PATIENCE) -> int:
        """SIGTERM; the exit code. Raises subprocess.TimeoutExpired."""
        self.process.terminate()
        code = self.process.wait(timeout=patience)
        self._reader.join(timeout=10)
        return code

    def wait_for(self, event: Event, seconds: float) -> bool:
        """Whether the event was logged within so many seconds; False at once where the process ended."""
        end = time.monotonic() + seconds
        with self._news:
            while not any(line.get("event") == event for line in self.lines):
                left = end - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    return False
                self._news.wait(min(left, 0.2))
        return True

    def of(self, *events: Event) -> list[dict[str, Any]]:
        """The lines of these events so far."""
        with self._news:
            return [line for line in self.lines if line.get("event") in events]

    def usage(self) -> Usage:
        """CPU and memory so far; the process must live."""
        return usage_of(self.process.pid)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for raw in stdout:
                with contextlib.suppress(ValueError), self._news:
                    self.lines.append(json.loads(raw))
                    self._news.notify_all()


def uploaded(lines: Sequence[dict[str, Any]], event: Event) -> int:
    """Bytes that these events stored."""
    return sum(line["bytes"] for line in lines if line.get("event") == event)
