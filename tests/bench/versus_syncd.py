"""syncd as one of the tools that are compared."""

import re
import time
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from typing_extensions import override

from syncd.log import Event
from tests.bench.meter import OK
from tests.bench.restore import timed
from tests.bench.side import is_identical
from tests.bench.versus_tools import PATIENCE, Commit, Taken, Tool
from tests.campaigns.rig import NAME, Daemon, Rig

_QUIET = 1.0
_SETTLED = 10.0  # after the last commit
_THERE = {*OK, 412}  # 412: of a repetition, where the answer to the first PUT was lost


class Syncd(Tool):
    """`syncd run`; `init` makes its configuration."""

    name = "syncd"
    folder = "archive"
    snapshot_names = re.compile(r"/(packs|snapshots)/")
    sync_names = re.compile(r"/deltas/")

    rig: Rig
    daemon: Daemon
    _marked = 0

    @override
    def start(self) -> None:
        if not (self.directory / "syncd.toml").exists():
            depot = self.place.depot()
            self.rig = Rig.make(self.directory, self.database, depot, max_delay=f"{self.interval:g}s")
        self.daemon = Daemon(self.rig)
        self.daemon.__enter__()
        if not self.daemon.wait_for(Event.DAEMON_READY, PATIENCE):
            raise TimeoutError("syncd was not ready")
        self.rig.wait_level(_QUIET, patience=PATIENCE)

    @override
    def stop(self) -> None:
        if code := self.daemon.stop():
            raise RuntimeError(f"syncd ended with exit code {code}")

    @override
    def kill(self) -> None:
        if hasattr(self, "daemon"):
            self.daemon.kill()

    @property
    @override
    def pid(self) -> int:
        return self.daemon.process.pid

    @override
    def mark(self) -> None:
        self._marked = len(self.daemon.of(Event.DELTA_SEALED, Event.SOURCE_COMPARED))

    @override
    def stored(self, commits: Sequence[Commit]) -> list[tuple[float, int]]:
        seqs, counts = self._counted(commits)
        bundles = {line["first_seq"]: line["last_seq"] for line in self.daemon.of(Event.DELTAS_STORED)}
        moments = []
        for request in self.meter.requests():
            folder, _, name = request.name.rpartition("/")
            if folder.endswith("/deltas") and self._is_own(folder) and request.status in _THERE:
                last = bundles.get(int(name, 16), -1)
                moments.append((request.at, counts[bisect_left(seqs, last + 1)]))
        return moments

    def _counted(self, commits: Sequence[Commit]) -> tuple[list[int], list[int]]:
        """Seqs of the deltas since `mark`, and how many commits there are before each and after the last.

        A comparison does not know how many commits it found: its delta has what the others leave, as soon as
        everything is stored. Until then, and before it where there were several, nothing more is said.
        """
        lines = self.daemon.of(Event.DELTA_SEALED, Event.SOURCE_COMPARED)[self._marked :]
        sealed = [line for line in lines if line["event"] == Event.DELTA_SEALED]
        counts = [0, *accumulate(line["commits"] for line in sealed)]
        looks = [at for at, line in enumerate(lines) if line["event"] == Event.SOURCE_COMPARED]
        if looks:
            first, last = looks[0], looks[-1] - len(looks) + 1
            settled = time.time() > commits[-1].at + _SETTLED and self.rig.is_level()
            after = [len(commits) - counts[-1] + count if settled else counts[first] for count in counts]
            counts = [*counts[: first + 1], *[counts[first]] * (last - first), *after[last + 1 :]]
        return [line["seq"] for line in sealed], counts

    def _is_own(self, folder: str) -> bool:
        return not self.place.meter or folder.startswith(f"{self.directory.name}/")

    @override
    def wait_level(self, last: Commit) -> None:
        self.rig.wait_level(2 * self.interval + _QUIET, patience=PATIENCE)

    @override
    def snapshot(self) -> None:
        done = self.rig.run("snapshot", NAME, "--config", str(self.rig.config), "--json")
        if done.returncode:
            raise RuntimeError(done.stderr)

    @override
    def describe(self) -> str:
        sealed = [(line["seq"], line["commits"]) for line in self.daemon.of(Event.DELTA_SEALED)]
        answers = [(each.name[-4:], each.status) for each in self.meter.requests() if "/deltas/" in each.name]
        quiet = {Event.DELTA_SEALED, Event.DELTAS_STORED}
        told = [line for line in self.daemon.lines if line.get("event") not in quiet]
        return f"syncd: deltas and commits {sealed}, answers {answers}, told {told}, {self.rig.status()}"

    @override
    def comparisons(self) -> int:
        return len(self.daemon.of(Event.FRAMES_LOST))

    @override
    def snapshot_seconds(self) -> float:
        return float(self.daemon.of(Event.SNAPSHOT_STORED)[0]["duration_ms"] / 1000)

    @override
    def restore(self, to: Path) -> Taken:
        command = self.rig.command("restore", "--to", str(to))
        command += ["--identity", str(self.rig.kit), "--passphrase-file", str(self.rig.passphrase_file)]
        return Taken(**timed(command))

    @override
    def is_right(self, restored: Path) -> bool:
        """Byte for byte."""
        return is_identical(self.rig, restored)
