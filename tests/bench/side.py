"""A benchmark's writer, alone or with a daemon beside it."""

import contextlib
import filecmp
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncd.log import Event
from tests.campaigns.rig import ROOT, Daemon, Depot, Rig, uploaded
from tests.support.oracle import fold


@dataclass(frozen=True, slots=True)
class Alone:
    """One run of the writer: transactions a second, and how long they took, in microseconds."""

    transactions: int
    tx_per_s: float
    p50_us: float
    p99_us: float
    max_us: float
    busy_errors: int


@dataclass(frozen=True, slots=True)
class Beside:
    """A run with the daemon beside it.

    `cpu_seconds` is while the writer wrote; `behind_seconds`, how long until all was stored after that.
    """

    writer: Alone
    deltas: int
    delta_bytes: int
    bytes_per_message: float
    cpu_seconds: float
    cpu_seconds_in_all: float
    peak_mb: float
    behind_seconds: float
    lag_ms: Sequence[int]
    frames_lost: int
    comparisons: Sequence[str]
    guarded: int
    restore_seconds: float
    identical: bool


def run_alone(directory: Path, *, seconds: float, rate: float) -> Alone:
    """The writer, and nobody else."""
    directory.mkdir()
    with _writer(directory / "chat.db", seconds, rate) as process:
        return _answer(process)


def run_beside(directory: Path, depot: Depot, *, seconds: float, rate: float, max_delay: float) -> Beside:
    """The writer with a daemon that has already stored the empty database; then a restore, compared."""
    application = directory / "application"
    application.mkdir(parents=True)
    database = application / "chat.db"
    with _writer(database, 0, 0) as process:
        _answer(process)
    rig = Rig.make(directory, database, depot, max_delay=f"{max_delay:g}s")
    with Daemon(rig) as daemon:
        if not daemon.wait_for(Event.DAEMON_READY, 60):
            raise TimeoutError("the daemon was not ready within 60 s")
        before = daemon.usage()
        with _writer(database, seconds, rate) as process:
            writer = _answer(process)
            during = daemon.usage()
            stopped = time.monotonic()
            quiet = max_delay + 1.5
            rig.wait_level(quiet, patience=max(120.0, 4 * seconds))
            behind = max(0.0, time.monotonic() - stopped - quiet)
            after = daemon.usage()
            if code := daemon.stop():
                raise RuntimeError(f"the daemon ended with exit code {code}")
            started = time.monotonic()
            restored = restore(rig)
            restore_seconds = time.monotonic() - started
            identical = is_identical(rig, restored)
    size = uploaded(daemon.lines, Event.DELTAS_STORED)
    return Beside(
        writer=writer,
        deltas=len(daemon.of(Event.DELTA_SEALED)),
        delta_bytes=size,
        bytes_per_message=size / max(1, writer.transactions),
        cpu_seconds=during.cpu_seconds - before.cpu_seconds,
        cpu_seconds_in_all=after.cpu_seconds,
        peak_mb=after.peak_mb,
        behind_seconds=behind,
        lag_ms=[line["lag_ms"] for line in daemon.of(Event.DELTAS_STORED)],
        frames_lost=len(daemon.of(Event.FRAMES_LOST)),
        comparisons=[line["reason"] for line in daemon.of(Event.SOURCE_COMPARED)],
        guarded=len(daemon.of(Event.SOURCE_GUARDED)),
        restore_seconds=restore_seconds,
        identical=identical,
    )


def restore(rig: Rig, *arguments: str, to: Path | None = None) -> Path:
    """From the bare archive, by the command. Raises RuntimeError."""
    to = to or rig.directory / "restored.db"
    done = rig.run(
        *("restore", "--identity", str(rig.kit), "--passphrase-file", str(rig.passphrase_file)),
        *("--to", str(to), *arguments),
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return to


def is_identical(rig: Rig, restored: Path) -> bool:
    """Byte for byte against the database, folded by SQLite; nobody may be writing."""
    scratch = rig.directory / "fold"
    scratch.mkdir(exist_ok=True)
    truth = fold(rig.database, scratch)
    identical = filecmp.cmp(truth, restored, shallow=False)
    truth.unlink()
    return identical


@contextlib.contextmanager
def _writer(database: Path, seconds: float, rate: float) -> Iterator[subprocess.Popen[str]]:
    """The writer; it holds its database open until the end of the block."""
    command = [sys.executable, "-m", "tests.bench.writer", "--db", str(database), "--hold"]
    command += ["--seconds", str(seconds), "--rate", str(rate)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _answer(process: subprocess.Popen[str]) -> Alone:
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    return Alone(**{name: line[name] for name in Alone.__slots__})
