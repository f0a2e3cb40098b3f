"""Hours like every other: the S3 server, a steady application, and every minute a restore that is compared.

    python -m tests.torture.soak [--minutes 60] [--rate 200] [--store s3|directory]

- Every minute the application pauses for a moment: all is stored, restored, and compared byte for byte.
- Memory, descriptors, the sizes of syncd's state and of the WAL are looked at every 5 s. Flat means: the
  median of the last third is at most 1.15 times that of the second third, and a little.
- Snapshots every 10 minutes, prunes, drills and checks too, so that all that happens in days happens here.
- The state holds up to 64 MiB of redo images before they are trimmed, which at 200 messages a second takes
  some 20 minutes: a soak of less than 60 says little of it.
- Exit 0 if every comparison held and everything is flat, else 1.
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Final

from syncd.restore import Restored
from tests.bench.stats import print_table
from tests.campaigns.archive import restore_each
from tests.campaigns.rig import STORES, Daemon, Rig, open_depot, scratch
from tests.support.oracle import fold
from tests.torture.application import Application
from tests.torture.invariants import size_of

_LOOK_SECONDS: Final = 5.0
_COMPARE_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 60.0
_LEVEL_SECONDS: Final = 60.0
_SLACK: Final = {"RSS MB": 4.0, "descriptors": 3.0, "state MB": 3.0, "WAL MB": 3.0}
_SCHEDULES: Final = {"snapshot": "10m", "retention": "10m", "drill": "15m", "check": "10m"}


class Soak:
    """See the module."""

    def __init__(self, rig: Rig, application: Application, daemon: Daemon) -> None:
        self._rig = rig
        self._application = application
        self._daemon = daemon
        self.samples: list[dict[str, float]] = []
        self.compared = 0
        self.slowest = 0.0
        self.wrong: list[str] = []

    def run(self, seconds: float, rate: int) -> None:
        """So long, at so many messages a second."""
        started = time.monotonic()
        compare_at = started + _COMPARE_SECONDS
        self._application.write(f"steady {rate}")
        while (now := time.monotonic()) - started < seconds:
            self._look(now - started)
            if now >= compare_at:
                self._compare()
                self._application.write(f"steady {rate}")
                compare_at += _COMPARE_SECONDS
            time.sleep(_LOOK_SECONDS)
        self._compare()

    def _look(self, at: float) -> None:
        pid = self._daemon.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        wal = Path(f"{self._rig.database}-wal")
        self.samples.append(
            {
                "minute": at / 60,
                "RSS MB": resident * 1024 / 1e6,
                "descriptors": float(len(os.listdir(f"/proc/{pid}/fd"))),  # noqa: PTH208
                "state MB": size_of(self._rig.directory / "syncd-state") / 1e6,
                "WAL MB": wal.stat().st_size / 1e6 if wal.exists() else 0.0,
            }
        )

    def _compare(self) -> None:
        """A machine with much to do may let capture wait for longer than `wait_level` takes for silence."""
        self._application.ask("pause")
        started = time.monotonic()
        directory = self._rig.directory / "fold"
        directory.mkdir(exist_ok=True)
        truth = fold(self._rig.database, directory).read_bytes()
        wrong = ["not everything was stored"]
        while wrong and time.monotonic() - started < _PATIENCE_SECONDS:
            wrong = self._differences(truth)
        for sentence in wrong:
            self._blame(sentence)
        self.slowest = max(self.slowest, time.monotonic() - started)
        values = ", ".join(f"{name} {value:.1f}" for name, value in self.samples[-1].items())
        print(f"{values}: {self.compared} compared", flush=True)

    def _differences(self, truth: bytes) -> list[str]:
        try:
            self._rig.wait_level(1.0)
        except TimeoutError as e:
            return [str(e)]
        position = self._rig.stored()
        assert position is not None
        to = self._rig.directory / "restored.db"

        def look(_restored: Restored) -> list[str]:
            if to.read_bytes() != truth:
                return ["the restored file is not the database"]
            self.compared += 1
            return []

        return restore_each(self._rig, [position], to, look)

    def _blame(self, sentence: str) -> None:
        self.wrong.append(sentence)
        print(f"VIOLATION: {sentence}", flush=True)

    def thirds(self, name: str) -> list[float]:
        """The median of each third."""
        values = [sample[name] for sample in self.samples]
        third = max(1, len(values) // 3)
        return [
            statistics.median(part)
            for part in (values[:third], values[third:-third] or values, values[-third:])
        ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--store", choices=STORES, default="s3")
    args = parser.parse_args()
    with open_depot(args.store) as depot, scratch("soak") as directory:
        database = directory / "application" / "chat.db"
        database.parent.mkdir()
        rig = Rig.make(directory, database, depot)
        text = rig.config.read_text()
        for section, schedule in _SCHEDULES.items():
            text = text.replace(f"\n[{section}]\n", f'\n[{section}]\nschedule = "{schedule}"\n', 1)
        rig.config.write_text(text)
        application = Application(database, directory / "journal", mode="wal", bulk_bytes=0, seed=1)
        with application, Daemon(rig) as daemon:
            soak = Soak(rig, application, daemon)
            soak.run(args.minutes * 60, args.rate)
            events = [line for line in daemon.lines if line.get("level") in {"warning", "error"}]
            code = daemon.stop()
        return _show(soak, application, events, code)


def _show(soak: Soak, application: Application, events: list[dict[str, object]], code: int) -> int:
    flat = True
    rows: list[tuple[object, ...]] = []
    for name, slack in _SLACK.items():
        first, second, last = soak.thirds(name)
        holds = last <= second * 1.15 + slack
        flat = flat and holds
        rows.append(
            (name, first, second, last, max(s[name] for s in soak.samples), "flat" if holds else "GROWS")
        )
    print_table("soak", ("", "first third", "second", "last", "most", ""), rows)
    totals = (
        ("minutes", soak.samples[-1]["minute"]),
        ("commits", application.commits),
        ("restores compared", soak.compared),
        ("slowest: stored, restored, compared, s", soak.slowest),
        ("slowest commit, ms", application.worst["slowest_ms"]),
        ("warnings and errors in the log", len(events)),
        ("exit code", code),
        ("violations", len(soak.wrong)),
    )
    print_table("", ("", "total"), totals)
    for line in events[:10]:
        print(line)
    return 0 if flat and not soak.wrong and not code else 1


if __name__ == "__main__":
    raise SystemExit(main())
