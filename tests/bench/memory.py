"""How much memory the daemon takes where much is to be read at once.

    python -m tests.bench.memory [--copy-mb 1000] [--transaction-mb 500] [--store directory|s3] [--json]

- A database of `--copy-mb` for the first copy and snapshot, then one transaction of `--transaction-mb`.
- The peak of the resident memory (VmHWM) is taken in each stage by itself.
- Exit 1 where the restored file is not identical or a peak is above `--bound-mb` (150).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd.log import Event
from tests.bench.side import is_identical, restore
from tests.bench.stats import print_table
from tests.campaigns.rig import ROOT, STORES, Daemon, Depot, Rig, open_depot, scratch

_QUIET = 3.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that was done: how long until all was stored, the peak meanwhile, and CPU seconds."""

    name: str
    megabytes: int
    seconds: float
    peak_mb: float
    cpu_seconds: float


class Bulk:
    """The writer's process."""

    def __init__(self, database: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.bulk", str(database)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def write(self, megabytes: int, transactions: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{megabytes} {transactions}\n")
        self._process.stdin.flush()
        self._answer()

    def close(self) -> None:
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the writer ended")


def measure(directory: Path, depot: Depot, *, copy_mb: int, transaction_mb: int) -> dict[str, Any]:
    """Both stages, and whether what comes back is the database."""
    application = directory / "application"
    application.mkdir(parents=True)
    database = application / "chat.db"
    bulk = Bulk(database)
    try:
        bulk.write(copy_mb, max(1, copy_mb // 2))
        rig = Rig.make(directory, database, depot, max_delay="1s")
        with Daemon(rig) as daemon:
            stages = [
                _stage(rig, daemon, "first copy and snapshot", copy_mb, lambda: None),
                _stage(rig, daemon, "one transaction", transaction_mb, lambda: bulk.write(transaction_mb, 1)),
            ]
            if code := daemon.stop():
                raise RuntimeError(f"the daemon ended with exit code {code}")
            started = time.monotonic()
            restored = restore(rig)
            restore_seconds = time.monotonic() - started
            identical = is_identical(rig, restored)
    finally:
        bulk.close()
    return {
        "stages": [{name: getattr(stage, name) for name in Stage.__slots__} for stage in stages],
        "deltas": len(daemon.of(Event.DELTA_SEALED)),
        "frames_lost": len(daemon.of(Event.FRAMES_LOST)),
        "restore_seconds": restore_seconds,
        "identical": identical,
    }


def _stage(rig: Rig, daemon: Daemon, name: str, megabytes: int, do: Callable[[], None]) -> Stage:
    # Writing 5 makes the kernel forget the peak so far (proc(5), clear_refs).
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")
    before, started = daemon.usage(), time.monotonic()
    _, reached = rig.stored() or ("", -1)
    do()
    rig.wait_level(_QUIET, beyond=reached, patience=600)
    after = daemon.usage()
    seconds = time.monotonic() - started - _QUIET
    return Stage(name, megabytes, seconds, after.peak_mb, after.cpu_seconds - before.cpu_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory")
    parser.add_argument("--copy-mb", type=int, default=1000)
    parser.add_argument("--transaction-mb", type=int, default=500)
    parser.add_argument("--bound-mb", type=float, default=150.0)
    parser.add_argument("--store", choices=STORES, default="directory")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with open_depot(args.store) as depot, scratch("memory") as directory:
        numbers = measure(
            directory / directory.name, depot, copy_mb=args.copy_mb, transaction_mb=args.transaction_mb
        )
    if args.json:
        print(json.dumps(numbers, indent=2))
    else:
        columns = ("stage", "MB", "seconds", "peak MB", "CPU s")
        rows = [list(stage.values()) for stage in numbers["stages"]]
        print_table("memory", columns, rows)
        print({name: value for name, value in numbers.items() if name != "stages"})
    peak = max(stage["peak_mb"] for stage in numbers["stages"])
    return 0 if numbers["identical"] and peak <= args.bound_mb else 1


if __name__ == "__main__":
    raise SystemExit(main())
