"""A real chat application with syncd beside it.

    python -m tests.chat.run synapse|thelounge --drivers DIR [--messages 500] [--rate 20]
                             [--store s3|directory] [--json]

- `DIR/synapse/run.sh` and `DIR/thelounge/run.sh` drive the applications; see tests.chat.driver for what they
  must do. SYNAPSE_VENV, LOUNGE_APP and IRC_ROOT in the environment name installations to be used again.
- The daemon is there before the database is. While the application runs, a stored position is restored once
  and checked, and a snapshot taken; when it has stopped, another one, and the newest position is restored
  and compared byte for byte. Then the archive is pruned, verified in full, and drilled.
- No message may be lost by the application: what its driver sent is counted in the restored database.
- Exit 1 where anything of this fails.
"""

import argparse
import json
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from syncd.log import Event
from tests.bench.side import is_identical, restore
from tests.bench.stats import median
from tests.campaigns.rig import NAME, Daemon, Depot, Rig, open_depot, scratch, uploaded
from tests.chat.counts import KEPT, SENT
from tests.chat.driver import Driver, LogWatch
from tests.support.oracle import integrity_check

_INSTALL_SECONDS: Final = 1200.0
_RUN_SECONDS: Final = 1200.0
_ENOUGH: Final = 3  # deltas stored, before the restore during the run


def run(
    app: str, directory: Path, drivers: Path, depot: Depot, *, messages: int, rate: float
) -> dict[str, Any]:
    """One run; the numbers, of which `wrong` lists what must not be."""
    wrong: list[str] = []
    beside = directory / f"{directory.name}-syncd"
    beside.mkdir()
    with Driver(drivers / app / "run.sh", directory / "app", messages=messages, rate=rate) as driver:
        database = driver.database(_INSTALL_SECONDS)
        rig = Rig.make(beside, database, depot)
        with LogWatch(database) as log, Daemon(rig) as daemon:
            meanwhile = _restore_meanwhile(rig, driver, wrong)
            _take_snapshot(rig, wrong)
            answer = driver.counts(_RUN_SECONDS)
            driver.end()
            rig.wait_level(3.0)
            _take_snapshot(rig, wrong)
            usage = daemon.usage()
            if code := daemon.stop():
                wrong.append(f"the daemon ended with exit code {code}")
        restored = restore(rig)
        if not is_identical(rig, restored):
            wrong.append("the restored file is not the database")
        wrong += integrity_check(restored)
        wrong += _proofs(rig)
        sent, kept = SENT[app](answer), KEPT[app](restored)
        if sent != kept:
            wrong.append(f"sent {sent}, the database has {kept}")
        # What other people saw of it, where the driver is one of them; it may see other channels too.
        if answer.get("seen", sum(sent.values())) < sum(sent.values()):
            wrong.append(f"sent {sent}, but only {answer['seen']} were seen")
        if errors := (beside / "daemon.err").read_text():
            wrong.append(f"the daemon wrote to stderr: {errors[-1000:]}")
        events = Counter(line["event"] for line in daemon.lines)
        lag = [line["lag_ms"] for line in daemon.of(Event.DELTAS_STORED)]
        delta_bytes = uploaded(daemon.lines, Event.DELTAS_STORED)
        total = max(1, sum(sent.values()))
        return {
            "application": app,
            "journal mode": log.journal_mode,
            "sent": sent,
            "kept": kept,
            "driver": answer,
            "restored meanwhile": meanwhile,
            "database bytes": restored.stat().st_size,
            "commits": sum(line["commits"] for line in daemon.of(Event.DELTA_SEALED)),
            "WAL frames seen": log.frames,
            "WAL resets seen": log.resets,
            "frames.lost": events[Event.FRAMES_LOST],
            "source.busy": events[Event.SOURCE_BUSY],
            "comparisons": dict(Counter(line["reason"] for line in daemon.of(Event.SOURCE_COMPARED))),
            "deltas": events[Event.DELTA_SEALED],
            "delta bytes": delta_bytes,
            "delta bytes per event": round(delta_bytes / total, 1),
            "snapshots: pages, changed, moved": [
                [line["pages"], line["changed"], line["moved"]] for line in daemon.of(Event.SNAPSHOT_STARTED)
            ],
            "snapshot bytes": [line["bytes"] for line in daemon.of(Event.SNAPSHOT_STORED)],
            "lag ms, median and max": [median(lag), max(lag, default=0)],
            "CPU seconds": round(usage.cpu_seconds, 2),
            "peak MB": round(usage.peak_mb, 1),
            "wrong": wrong,
        }


def _restore_meanwhile(rig: Rig, driver: Driver, wrong: list[str]) -> str:
    """While the application runs: a stored position comes back, and is sound."""
    end = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < end and not driver.has_counts():
        position = rig.stored()
        if position is None or position[1] < _ENOUGH:
            time.sleep(0.1)
            continue
        to = rig.directory / "meanwhile.db"
        try:
            restored = restore(rig, "--seq", str(position[1]), to=to)
            found = integrity_check(restored)
        except (RuntimeError, sqlite3.Error, subprocess.SubprocessError) as e:
            found = [str(e)]
        wrong.extend(f"seq {position[1]}: {problem}" for problem in found)
        to.unlink(missing_ok=True)
        return f"seq {position[1]}, {'ok' if not found else 'NOT SOUND'}"
    wrong.append("there was no time to restore while the application ran")
    return "no"


def _take_snapshot(rig: Rig, wrong: list[str]) -> None:
    """While the daemon runs; its log tells what it did."""
    done = rig.run("snapshot", NAME, "--config", str(rig.config))
    if done.returncode:
        wrong.append(f"snapshot: {done.stderr}")


def _proofs(rig: Rig) -> list[str]:
    """What is kept is cleaned up, whole, and restores."""
    kit = ("--identity", str(rig.kit), "--passphrase-file", str(rig.passphrase_file))
    wrong = []
    for command in (
        ("prune", NAME, "--config", str(rig.config)),
        ("verify", NAME, "--config", str(rig.config), "--full", *kit),
        ("drill", NAME, "--config", str(rig.config), *kit),
    ):
        done = rig.run(*command)
        if done.returncode:
            wrong.append(f"{command[0]}: {done.stderr or done.stdout}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chat.run")
    parser.add_argument("app", choices=tuple(SENT))
    parser.add_argument("--drivers", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20.0, help="messages per second; 0: flat out")
    parser.add_argument("--store", choices=("s3", "directory"), default="s3")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with open_depot(args.store) as depot, scratch(args.app) as directory:
        numbers = run(
            args.app, directory, args.drivers.absolute(), depot, messages=args.messages, rate=args.rate
        )
    if args.json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f"{args.app} beside syncd, {args.store}")
        for name, value in numbers.items():
            print(f"  {name:26} {value}")
    return 1 if numbers["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
