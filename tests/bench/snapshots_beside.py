"""How long batches are delayed while a snapshot of a large database is taken.

    python -m tests.bench.snapshots_beside [--megabytes 2000] [--rate 200] [--seconds 20] [--store s3]

- A writer posts `--rate` messages a second throughout; the real daemon captures, max_delay 1 s.
- Stages: the first snapshot; none; two that ship what changed; one that ships every page again; none.
- Delay: from when a batch was due (max_delay after its first change) to when it was sealed, and to when
  it was stored. Before the first snapshot is there, deltas wait: only sealing counts then.
- Exit 1 where the longest delay during a snapshot is more than 1 s above the longest without one.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from syncd.log import Event
from tests.bench.side import is_identical, restore
from tests.bench.snapshots_chat import writing
from tests.bench.snapshots_days import forget_peak
from tests.bench.stats import median, percentile, print_table
from tests.campaigns.rig import ROOT, STORES, Daemon, Depot, Rig, open_depot, scratch

BOUND_MS = 1000.0
_MAX_DELAY = 1.0
_BEGIN = 600.0
_NONE = "no snapshot"
_FIRST = "the first"


@dataclass(frozen=True, slots=True)
class Stage:
    """What happened between two moments (seconds of the wall clock), and how late batches were then (ms)."""

    name: str
    begin: float
    end: float
    shipped: int
    peak_mb: float
    sealed_ms: tuple[float, ...]
    stored_ms: tuple[float, ...]

    @property
    def worst_sealed(self) -> float:
        return max(self.sealed_ms, default=0.0)

    @property
    def worst_stored(self) -> float:
        return max(self.stored_ms, default=0.0)


@dataclass(frozen=True, slots=True)
class Delay:
    """When a batch was due, and when it was done (seconds of the wall clock)."""

    due: float
    done: float

    @property
    def ms(self) -> float:
        return (self.done - self.due) * 1000

    def touches(self, begin: float, end: float) -> bool:
        """Whether it was due in this time, or done in it."""
        return begin <= self.due < end or begin <= self.done < end


@contextlib.contextmanager
def _posting(database: Path, rate: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.writer", "--db", str(database), "--rate", str(rate)]
    command += ["--seconds", "36000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Bench:
    """One database, its daemon, and the moments between which something was done."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        self.rig = rig
        self._seconds = seconds
        self._moments: list[tuple[str, float, float, int, float]] = []
        self._lines: list[dict[str, Any]] = []

    def run(self, posting: subprocess.Popen[str]) -> list[Stage]:
        """All stages; the writer is ended between the last batch and the daemon's end."""
        with Daemon(self.rig) as daemon:
            self._first(daemon)
            self._none(daemon)
            for _ in range(2):
                self._asked(daemon, "what changed")
                time.sleep(self._seconds / 2)
            self._asked(daemon, "every page", "--whole")
            time.sleep(self._seconds / 4)
            self._none(daemon)
            posting.terminate()
            posting.wait(60)
            self.rig.wait_level(2 * _MAX_DELAY + 1)
            if code := daemon.stop():
                raise RuntimeError(f"the daemon ended with exit code {code}")
            self._lines = daemon.lines
        return self._stages()

    def _first(self, daemon: Daemon) -> None:
        _wait(daemon, Event.SNAPSHOT_STORED, 1)
        started, stored = daemon.of(Event.SNAPSHOT_STARTED)[0], daemon.of(Event.SNAPSHOT_STORED)[0]
        peak = daemon.usage().peak_mb
        self._moments.append((_FIRST, _at(started), _at(stored), stored["bytes"], peak))
        _wait(daemon, Event.DELTAS_STORED, 1)
        time.sleep(self._seconds / 4)  # what had waited for the first snapshot is on its way

    def _none(self, daemon: Daemon) -> None:
        forget_peak(daemon.process.pid)
        begin = time.time()
        time.sleep(self._seconds)
        self._moments.append((_NONE, begin, time.time(), 0, daemon.usage().peak_mb))

    def _asked(self, daemon: Daemon, name: str, *options: str) -> None:
        forget_peak(daemon.process.pid)
        begin = time.time()
        done = self.rig.run("snapshot", "chat", "--config", str(self.rig.config), "--json", *options)
        if done.returncode:
            raise RuntimeError(done.stderr)
        (answer,) = json.loads(done.stdout)
        shipped = answer["snapshot"]["bytes"]
        self._moments.append((name, begin, time.time(), shipped, daemon.usage().peak_mb))

    def _stages(self) -> list[Stage]:
        sealed, stored = sealed_delays(self._lines), stored_delays(self._lines)
        stages = []
        for name, begin, end, shipped, peak in self._moments:
            until = end if name == _NONE else end + _MAX_DELAY  # the next batch may have been held up
            sealed_ms = tuple(each.ms for each in sealed if each.touches(begin, until))
            stored_ms = tuple(each.ms for each in stored if each.touches(begin, until) and name != _FIRST)
            stages.append(Stage(name, begin, end, shipped, peak, sealed_ms, stored_ms))
        return stages


def sealed_delays(lines: Sequence[dict[str, Any]]) -> list[Delay]:
    """Of all batches but the first: the next one opens when the one before is sealed, or later."""
    delays: list[Delay] = []
    last: float | None = None
    for line in lines:
        if line["event"] == Event.DELTA_SEALED:
            at = _at(line)
            if last is not None:
                delays.append(Delay(min(at, last + _MAX_DELAY), at))
            last = at
    return delays


def stored_delays(lines: Sequence[dict[str, Any]]) -> list[Delay]:
    """Of the oldest batch in each bundle."""
    stored = [line for line in lines if line["event"] == Event.DELTAS_STORED]
    return [
        Delay(min(_at(line), _at(line) - line["lag_ms"] / 1000 + _MAX_DELAY), _at(line)) for line in stored
    ]


def _at(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _wait(daemon: Daemon, event: Event, count: int) -> None:
    end = time.monotonic() + _BEGIN
    while len(daemon.of(event)) < count:
        if time.monotonic() > end or daemon.process.poll() is not None:
            raise TimeoutError(f"no {event} within {_BEGIN:.0f} s")
        time.sleep(0.1)


def measure(
    directory: Path, depot: Depot, *, megabytes: int, rate: float, seconds: float
) -> tuple[list[Stage], bool]:
    """The stages, and whether what comes back is the database."""
    application = directory / "application"
    application.mkdir(parents=True)
    database = application / "chat.db"
    with writing(database, megabytes=megabytes, seed=0):
        pass
    with _posting(database, rate) as posting:
        rig = Rig.make(directory, database, depot, max_delay=f"{_MAX_DELAY:g}s")
        stages = Bench(rig, seconds).run(posting)
    return stages, is_identical(rig, restore(rig))


def excess(stages: Sequence[Stage]) -> dict[str, float]:
    """By how many ms the longest delay in each stage is above the longest without a snapshot."""
    none = [stage for stage in stages if stage.name == _NONE]
    sealed = max(stage.worst_sealed for stage in none)
    stored = max(stage.worst_stored for stage in none)
    return {
        f"{number} {stage.name}": max(stage.worst_sealed - sealed, stage.worst_stored - stored)
        for number, stage in enumerate(stages)
        if stage.name != _NONE
    }


def _row(stage: Stage) -> list[object]:
    sealed = [median(stage.sealed_ms), percentile(stage.sealed_ms, 99), stage.worst_sealed]
    stored = [median(stage.stored_ms), percentile(stage.stored_ms, 99), stage.worst_stored]
    counts = [stage.end - stage.begin, stage.shipped / 1e6, stage.peak_mb, len(stage.sealed_ms)]
    return [stage.name, *counts, *sealed, *(stored if stage.stored_ms else ["-"] * 3)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.snapshots_beside")
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the stages without a snapshot")
    parser.add_argument("--store", choices=STORES, default="directory")
    args = parser.parse_args()
    with open_depot(args.store) as depot, scratch("snapshots-beside") as directory:
        stages, identical = measure(
            directory / directory.name,
            depot,
            megabytes=args.megabytes,
            rate=args.rate,
            seconds=args.seconds,
        )
    columns = (
        *("snapshot", "seconds", "shipped MB", "peak MB", "batches", "sealed: median ms late", "p99", "max"),
        *("stored: median ms late", "p99", "max"),
    )
    print_table("batches, due to sealed and due to stored", columns, [_row(stage) for stage in stages])
    above = excess(stages)
    print(f"above the longest without a snapshot, ms: { {name: round(ms) for name, ms in above.items()} }")
    print("identical" if identical else "NOT IDENTICAL")
    return 0 if identical and max(above.values()) <= BOUND_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
