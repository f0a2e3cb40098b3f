"""What must hold at every moment, whatever the fault.

- What `status` showed as stored stays restorable, and is a state that the application committed.
- `status` never goes back within a generation; a new generation begins only where the fault allows it.
- The application meets no error; without a fault, the daemon logs none, and never ends by itself.
- A daemon that makes no progress says so: within 10 s `status` shows something that is not well.
- Nothing in the daemon's stderr. Memory, descriptors, state and WAL stay within bounds.
"""

import json
import os
import re
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from syncd.errors import SyncdError
from syncd.log import Event
from syncd.restore import Restored
from tests.campaigns.rig import Daemon, stored_in
from tests.support.oracle import integrity_check
from tests.torture.application import State
from tests.torture.faults import Fault

if TYPE_CHECKING:
    from tests.torture.world import World

SILENCE_SECONDS: Final = 10.0
_SLACK_SECONDS: Final = 3.0  # the machine's own scheduling, and the time between two looks
_SURELY: Final = 2  # commits
_MOST_MB: Final = 400.0
_MOST_FILES: Final = 120
_TROUBLE: Final = frozenset(
    {
        Event.STATE_FAILED,
        Event.TARGET_CONFLICTED,
        Event.TARGET_REFUSED,
        Event.TARGET_ROLLED_BACK,
        Event.TARGET_LOST,
    }
    | {Event.DATABASE_FAILED}
    | {Event.DRILL_FAILED, Event.SOURCE_CORRUPT, Event.PRUNE_STOPPED}
)


class Watch:
    """Looks at a world again and again; what is wrong goes to its record."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.noted: list[tuple[str, int]] = []
        self.fault: Fault | None = None
        self.loud = False
        self.text = ""
        self.captured: tuple[str, int] = ("", -1)
        self._heard = 0
        self._seen: object = None
        self._newest = 0
        self._moved = self._stored_at = time.monotonic()
        self._blamed: set[str] = set()
        self._stderr = 0
        self._calm = False
        self._anew = False

    @property
    def still_seconds(self) -> float:
        """Since when nothing was stored."""
        return time.monotonic() - self._stored_at

    @property
    def brief(self) -> str:
        """What `status` says, in short."""
        try:
            report = json.loads(self.text)
        except ValueError:
            return self.text
        status = report["databases"]["chat"]
        targets = [
            (t["state"], t["error"], t["waiting_bytes"], t["stored"]) for t in status["targets"].values()
        ]
        return f"{report['daemon']}, {status['state']} {status['error']}, {status['captured']}, {targets}"

    def expect(self, fault: Fault | None, *, calm: bool = False) -> None:
        """A fault lasts; or none does, and after `calm` nothing may be wrong any more."""
        # What a fault set off may be stored only after it; in a comparison it must have been.
        self._anew = (self._anew or (self.fault is not None and self.fault.anew)) and not calm
        self.fault = fault
        self._calm = calm
        self._moved = time.monotonic()

    def look(self) -> None:
        """One look at everything."""
        world = self._world
        self._look_at_status()
        if world.daemon is not None:
            self.hear(world.daemon)
            if world.daemon.process.poll() is not None:
                self._ended(world.daemon)
            else:
                self._measure(world.daemon.process.pid)
        for error in world.application.errors:
            self.blame_once(f"the application met: {error}")
        world.application.mend()

    def hear(self, daemon: Daemon) -> None:
        """Take the lines of a daemon's log that are new."""
        lines = daemon.lines[self._heard :]
        self._heard = 0 if daemon is not self._world.daemon else self._heard + len(lines)
        for line in lines:
            self._world.lines.append(line)
            self._world.record.events[line["event"]] += 1
            if line["event"] == Event.LIBRARY_WARNED:
                message = re.sub(r"[0-9]+", "N", str(line.get("message")))[:80]
                self._world.record.events[f"  {line.get('library')}: {message}"] += 1
            if self._calm and self.fault is None and line["event"] in _TROUBLE and not self._lost(line):
                self._world.record.blame(f"without a fault: {json.dumps(line)}")
        errors = self._world.directory / "daemon.err"
        if errors.exists() and errors.stat().st_size > self._stderr:
            text = errors.read_text()[self._stderr :]
            self._stderr = errors.stat().st_size
            self._world.lines += [{"level": "error", "stderr": line} for line in text.splitlines()]
            if "Traceback" in text or self.fault is None or not self.fault.may_end:
                self._world.record.blame(f"stderr, during {self._during()}: {text[-3000:]}")

    def _lost(self, line: dict[str, Any]) -> bool:
        """Whether a drill drew a position that the store lost, and that was told before."""
        losses = {Event.TARGET_LOST, Event.TARGET_ROLLED_BACK}
        told = any(line.get("event") in losses for line in self._world.lines)
        return told and line["event"] == Event.DRILL_FAILED and "are missing" in line["error"]

    def blame_once(self, sentence: str, details: str = "") -> None:
        sentence += f", during {self._during()}"
        if sentence not in self._blamed:
            self._blamed.add(sentence)
            self._world.record.blame(f"{sentence} {details}")

    def _during(self) -> str:
        return self.fault.name() if self.fault else "no fault"

    def _look_at_status(self) -> None:
        world, now = self._world, time.monotonic()
        try:
            report = world.rig.report()
        except SyncdError as e:
            self.text, self.loud = str(e), True
            return
        status = report["databases"]["chat"]
        self.text = json.dumps(report)
        self.loud = report["daemon"] != "running" or _is_loud(status)
        self._note(status)
        waiting = max((t["waiting_bytes"] for t in status["targets"].values()), default=0)
        world.record.measure(f"MB waiting, of {world.profile.outbox}", waiting / 1e6)
        captured = status["captured"] or {}
        self.captured = (status["generation"] or "", captured.get("seq", -1))
        seen = (
            stored_in(status),
            captured.get("seq"),
            [t["waiting_bytes"] for t in status["targets"].values()],
        )
        newest = world.application.newest
        if seen != self._seen or self.loud or newest < self._newest + _SURELY:
            # Its journal says what it commits a moment before it is committed.
            self._newest = newest if seen != self._seen or self.loud else self._newest
            self._seen, self._moved = seen, now
        elif now - self._moved > SILENCE_SECONDS + _SLACK_SECONDS:
            self.blame_once("no progress, and all is said to be well", self.brief)

    def _note(self, status: dict[str, Any]) -> None:
        stored = stored_in(status)
        if stored is None or (self.noted and stored == self.noted[-1]):
            return
        generations = {generation for generation, _ in self.noted}
        anew = self._anew or (self.fault is not None and self.fault.anew)
        if generations and stored[0] not in generations and not anew:
            self.blame_once(f"generation {self.noted[-1][0]} became {stored[0]}")
        last = max((seq for generation, seq in self.noted if generation == stored[0]), default=-1)
        if stored[1] < last and not anew:
            self.blame_once(f"status showed seq {last} as stored, and then {stored[1]}")
        self.noted.append(stored)
        self._stored_at = time.monotonic()
        self._world.record.positions += 1

    def _ended(self, daemon: Daemon) -> None:
        world = self._world
        code = daemon.process.returncode
        if self.fault is None or not self.fault.may_end:
            world.record.blame(f"the daemon ended by itself with {code}, during {self._during()}")
        world.kill()
        time.sleep(1.0)
        world.start()

    def _measure(self, pid: int) -> None:
        world = self._world
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        except OSError:
            return
        resident = next((int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS:")), 0) / 1000
        wal = Path(f"{world.database}-wal")
        sizes = {
            "MB resident": resident,
            "descriptors": float(files),
            "MB of WAL": wal.stat().st_size / 1e6 if wal.exists() else 0.0,
            "MB of state": size_of(world.state_dir) / 1e6,
        }
        for what, value in sizes.items():
            world.record.measure(what, value)
        if resident > _MOST_MB or files > _MOST_FILES:
            self.blame_once(f"{resident:.0f} MB resident and {files} descriptors are too many")


def size_of(directory: Path) -> int:
    """Bytes on disk of all its files."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:  # gone meanwhile
            continue
    return total


def problems(path: Path, restored: Restored | None, states: set[State]) -> list[str]:
    """What is wrong with a restored file."""
    found = integrity_check(path)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as conn:
        if not conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return found  # the moment before the application made its tables
        counter, rows, total = conn.execute("SELECT counter, rows, sum FROM total").fetchone()
        there = conn.execute("SELECT count(*), ifnull(sum(crc), 0) FROM messages").fetchone()
        wrong = sum(
            zlib.crc32(body.encode()) != crc for body, crc in conn.execute("SELECT body, crc FROM messages")
        )
    if there != (rows, total) or wrong:
        found.append(f"torn: {rows} rows of sum {total} announced, {there} there, {wrong} bodies wrong")
    if (counter, rows, total) not in states:
        found.append(f"the application never committed {counter} {rows} {total}")
    if restored is not None and path.stat().st_size != restored.bytes:
        found.append(f"{path.stat().st_size} bytes, not {restored.bytes}")
    return found


def _is_loud(status: dict[str, Any]) -> bool:
    """Whether anything in it says that not all is well."""
    return status["state"] not in {"ok", "new"} or any(t["state"] != "ok" for t in status["targets"].values())
