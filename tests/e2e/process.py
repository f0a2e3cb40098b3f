"""Real processes: commands, the daemon and the chat application.

- Every process is a child of the test, has an environment without anything of the user's, and is ended by
  its pid.
- Nothing waits for time: `poll` asks for a condition until it holds, and gives up after a while.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any, TypeVar

SYNCD = (sys.executable, "-m", "syncd.cli")
SECONDS = 45
_POLL = 0.02
T = TypeVar("T")


def poll(condition: Callable[[], T | None], what: str) -> T:
    """The first true value of `condition`."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(_POLL)
    raise AssertionError(f"it did not come to pass that {what}")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child sees: no settings of the user's, no credentials."""
    clean = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "COLUMNS": "200"}
    return clean | {"PYTHONUNBUFFERED": "1", "AWS_EC2_METADATA_DISABLED": "true"} | dict(extra or {})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def syncd(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    command: Sequence[str] = SYNCD,
) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        text=True,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Zygote:
    """Runs commands like `syncd`, but without the second that each spends importing; see zygote.py."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            env=environment({"PYTHONPATH": os.pathsep.join(sys.path)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        uid: int = 0,
    ) -> Outcome:
        out, err = self._scratch / "out", self._scratch / "err"
        job = {"arguments": [str(a) for a in arguments], "env": environment(env), "seconds": SECONDS}
        job |= {"cwd": str(cwd or self._scratch), "uid": uid, "out": str(out), "err": str(err)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Outcome(code, out.read_text(), err.read_text())

    def close(self) -> None:
        self._process.communicate(timeout=SECONDS)


def succeeded(outcome: Outcome) -> Outcome:
    """The outcome of a command that must end well and say nothing on stderr."""
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome


def assert_refused(outcome: Outcome, code: int, *words: str) -> None:
    """One line on stderr that has all the words, perhaps a hint, and the exit code."""
    line, *more = outcome.err.splitlines() or [""]
    assert outcome.code == code, outcome
    assert line.startswith("syncd: "), outcome
    assert not [word for word in words if word not in line], outcome
    assert len(more) <= 1, outcome
    assert all(hint.startswith("  hint: ") for hint in more), outcome
    assert "Traceback" not in outcome.out, outcome


def partials(directory: Path) -> list[Path]:
    """What an unfinished restore or put left behind."""
    return [*directory.rglob("*.partial"), *directory.rglob("~*")]


@dataclass(slots=True)
class Daemon:
    """A running `syncd run`."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    def events(self) -> list[dict[str, Any]]:
        """What it logged so far; the last line may not be whole yet."""
        whole, _, _ = self.output.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The event of that name, the `count`th."""

        def found() -> list[dict[str, Any]]:
            matching = [line for line in self.events() if line["event"] == event]
            assert self.process.poll() is None or len(matching) >= count, self.errors.read_text()
            return matching[count - 1 : count]

        return poll(found, f"{event} was logged")[0]

    def send(self, number: Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: Signals = SIGTERM) -> Outcome:
        """Signal it, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(SECONDS)
        return Outcome(self.process.returncode, self.output.read_text(), self.errors.read_text())


@contextmanager
def running(
    config: Path, *, env: Mapping[str, str] | None = None, command: Sequence[str] = SYNCD
) -> Iterator[Daemon]:
    """The daemon; killed at the end where the test did not end it."""
    directory = config.parent
    number = len(list(directory.glob("daemon-*.out")))
    output, errors = directory / f"daemon-{number}.out", directory / f"daemon-{number}.err"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [*command, "run", "--config", str(config)],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    try:
        yield Daemon(process, output, errors)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@dataclass(slots=True)
class Chat:
    """A running `syncd.cli.chatapp --control`."""

    process: subprocess.Popen[bytes]
    output: Path

    def wait_messages(self, count: int) -> None:
        """Wait until it has said that it wrote so many."""
        poll(
            lambda: (self._last() or {"messages": -1})["messages"] >= count, f"{count} messages were written"
        )

    def stop_writing(self) -> None:
        """The writing ends, the database stays open."""
        self._say()
        poll(lambda: (self._last() or {}).get("done"), "the chat stopped writing")

    def close(self) -> None:
        """The last connection is closed."""
        self._say()
        assert self.process.wait(SECONDS) == 0

    def _say(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def _last(self) -> dict[str, Any] | None:
        whole, _, _ = self.output.read_text().rpartition("\n")
        return json.loads(whole.rpartition("\n")[2]) if whole else None


@contextmanager
def chatting(database: Path, scratch: Path, *, rate: int = 100) -> Iterator[Chat]:
    """The application; killed at the end where the test did not end it."""
    output = scratch / "chat.out"
    arguments = (str(database), "--rate", str(rate), "--seconds", "0", "--control")
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd.cli.chatapp", *arguments],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=out,
        )
    try:
        yield Chat(process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
