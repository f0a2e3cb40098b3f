"""Scenarios with a writer beside the tool: a fixed rate, full speed, and nobody writing.

- One run is one tool, one database, one record of numbers. What is counted begins when the tool has stored
  the database as it was at the start, and ends when the last commit is stored.
- `lag`: from the end of a commit to the answer to the PUT that carries it, of every commit.
- `peak_mb` is from the tool's start, `steady_peak_mb` from when the writer began.
- After a run with a writer the tool is stopped, restores, and what came back is compared.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.meter import tally
from tests.bench.side import Alone
from tests.bench.snapshots_days import forget_peak
from tests.bench.stats import percentile
from tests.bench.versus_tools import Commit, Tool
from tests.campaigns.rig import ROOT, Usage

Record = dict[str, float]
_SETTLE = 5.0


def prepare(directory: Path, template: Path | None = None) -> Path:
    """An application's directory with a database: a copy, or one with empty tables."""
    application = directory / "application"
    application.mkdir(parents=True)
    database = application / "chat.db"
    if template:
        shutil.copyfile(template, database)
    else:
        with writer(database, seconds=0, rate=0, log=directory / "none") as process:
            answer(process)
    return database


def steady(tool: Tool, *, rate: float, seconds: float) -> Record:
    """A writer at `rate` messages a second, 0 for full speed, with the tool beside it."""
    log = tool.directory / "commits"
    with tool, writer(tool.database, seconds=0, rate=0, log=tool.directory / "none"):
        tool.start()
        tool.mark()
        before, began = tool.usage(), time.time()
        forget_peak(tool.pid)
        with writer(tool.database, seconds=seconds, rate=rate, log=log) as process:
            wrote = answer(process)
            after_writing = tool.usage()
            commits = read_commits(log)
            ended = tool.wait_stored(commits)
            time.sleep(0.1)  # whatever belongs to that same sync
            after = tool.usage()
            record = _writer(wrote) | _traffic(tool, began, ended, wrote.transactions)
            record |= _lag(tool.stored(commits), commits) | _usage(before, after, ended - began)
            record["comparisons"] = tool.comparisons()
            record["cpu_seconds_while_writing"] = after_writing.cpu_seconds - before.cpu_seconds
            tool.stop()
            record |= restored(tool)
    return record


def idle(tool: Tool, *, seconds: float) -> Record:
    """Nobody writes; the application has its database open."""
    with tool, writer(tool.database, seconds=0.2, rate=50, log=tool.directory / "none") as process:
        answer(process)
        tool.start()
        time.sleep(_SETTLE)
        before, began = tool.usage(), time.time()
        time.sleep(seconds)
        return _traffic(tool, began, time.time(), 0) | _usage(before, tool.usage(), seconds)


def alone(directory: Path, *, seconds: float) -> Record:
    """The writer at full speed, and no tool."""
    database = prepare(directory)
    with writer(database, seconds=seconds, rate=0, log=directory / "commits") as process:
        return _writer(answer(process))


@contextlib.contextmanager
def writer(database: Path, *, seconds: float, rate: float, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes messages, and holds the database open until the end of the block."""
    command = [sys.executable, "-m", "tests.bench.writer", "--db", str(database), "--hold", "--positions"]
    command += ["--seconds", str(seconds), "--rate", str(rate), "--log", str(log)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def answer(process: subprocess.Popen[str]) -> Alone:
    """What the writer says when it has written. Raises RuntimeError where it failed."""
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise RuntimeError("the writer ended")
    line = json.loads(said)
    return Alone(**{name: line[name] for name in Alone.__slots__})


def read_commits(log: Path) -> list[Commit]:
    """The writer's log."""
    rows = (line.split() for line in log.read_text().splitlines())
    return [Commit(int(at) / 1e9, int(salt), int(frame)) for _, at, salt, frame in rows]


def lags(stored: Sequence[tuple[float, int]], commits: Sequence[Commit]) -> list[float]:
    """Seconds until each commit was stored. Raises ValueError where one never was."""
    answers = iter(stored)
    at, count, result = 0.0, 0, []
    for number, commit in enumerate(commits):
        while count <= number:
            at, count = next(answers, (0.0, -1))
            if count < 0:
                raise ValueError(f"commit {number} of {len(commits)} was not stored")
        result.append(at - commit.at)
    return result


def _lag(stored: Sequence[tuple[float, int]], commits: Sequence[Commit]) -> Record:
    seconds = lags(stored, commits)
    return {
        "lag_p50_s": percentile(seconds, 50),
        "lag_p99_s": percentile(seconds, 99),
        "lag_max_s": max(seconds),
    }


def _writer(wrote: Alone) -> Record:
    return {
        "messages": wrote.transactions,
        "tx_per_s": wrote.tx_per_s,
        "writer_p50_us": wrote.p50_us,
        "writer_p99_us": wrote.p99_us,
        "busy_errors": wrote.busy_errors,
    }


def _traffic(tool: Tool, began: float, ended: float, messages: int) -> Record:
    sums = tally(tool.meter.requests(), began, ended + 0.1)
    record: Record = {
        "puts": sums.puts,
        "lists": sums.lists,
        "other_requests": sums.others,
        "requests": sums.requests,
        "requests_per_minute": 60 * sums.requests / (ended - began),
        "bytes": sums.up,
    }
    if messages:
        syncs = [each for each in tool.meter.requests() if tool.sync_names.search(f"/{each.name}")]
        record["bytes_per_message"] = sums.up / messages
        record["sync_bytes_per_message"] = tally(syncs, began, ended + 0.1).up / messages
        record["wire_bytes_per_message"] = sums.wire / messages
    return record


def _usage(before: Usage, after: Usage, seconds: float) -> Record:
    cpu = after.cpu_seconds - before.cpu_seconds
    return {
        "cpu_seconds": cpu,
        "cpu_percent": 100 * cpu / seconds,
        "peak_mb": max(before.peak_mb, after.peak_mb),
        "steady_peak_mb": after.peak_mb,
    }


def restored(tool: Tool) -> Record:
    """What a restore took, and whether it gave the database."""
    to = tool.directory / "restored.db"
    taken = tool.restore(to)
    return {"restore_seconds": taken.seconds, "restore_peak_mb": taken.peak_mb, "right": tool.is_right(to)}
