"""One chapter of the kill campaign: one application, one archive, a daemon that is killed again and again.

Rules that must hold, whatever the moment of a kill:

- What `status` showed as stored, before or after a kill, can be restored for ever, by its seq.
- What is restored is a state that the application committed: SQLite finds it sound, its three counts agree,
  and the application's own log has it.
- `status` never goes back, and never names another generation; the archive has one generation.
- The daemon never ends by itself, never refuses its own archive, and writes nothing to stderr.
- In the end, the restored file is the database, byte for byte.
"""

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from syncd.log import Event
from syncd.restore import Restored
from tests.campaigns.archive import restore_each
from tests.campaigns.rig import PATIENCE, ROOT, Daemon, Depot, Rig, stored_in
from tests.support.oracle import fold, integrity_check

_LOOK_SECONDS: Final = 0.05
_EVENT_SECONDS: Final = 8.0
_FORBIDDEN: Final = frozenset({Event.STATE_FAILED, Event.TARGET_CONFLICTED, Event.TARGET_REFUSED})
# Moments: after which event (None: the start of the process), and at most how many seconds later.
_MOMENTS: Final[dict[str, tuple[Event | None, float]]] = {
    "starting": (None, 0.8),
    "first copy": (Event.SOURCE_OPENED, 0.1),
    "first snapshot": (Event.SNAPSHOT_STARTED, 0.1),
    "sealing": (Event.DELTA_SEALED, 0.05),
    "storing": (Event.DELTAS_STORED, 0.05),
    "replaying": (Event.SOURCE_OPENED, 0.05),
    "any time": (None, 4.0),
}
_USUAL: Final = ("starting", "sealing", "storing", "replaying", "any time", "any time")
_AT_FIRST: Final = ("starting", "first copy", "first copy", "first snapshot", "first snapshot")


@dataclass(slots=True)
class Tally:
    """What a campaign did and found."""

    kills: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    positions: int = 0
    restores: int = 0
    commits: int = 0
    identical: int = 0
    chapters: int = 0
    wrong: list[str] = field(default_factory=list)

    def blame(self, sentence: str) -> None:
        self.wrong.append(sentence)
        print(f"VIOLATION: {sentence}", flush=True)


class Chapter:
    """See the module. `directory` is empty and belongs to the chapter; its name is unique."""

    def __init__(
        self, directory: Path, depot: Depot, rng: random.Random, tally: Tally, *, messages: int
    ) -> None:
        self._directory = directory
        self._depot = depot
        self._rng = rng
        self._tally = tally
        self._messages = messages
        self._log = directory / "commits"
        self._noted: list[tuple[str, int]] = []
        self._verified = 0
        self._generation: str | None = None

    def run(self, kills: int, *, verify_every: int) -> None:
        application = self._directory / "application"
        application.mkdir()
        database = application / "chat.db"
        self._rig = Rig.make(self._directory, database, self._depot, max_delay="300ms", max_bytes="256KiB")
        with self._application(database) as talker:
            for number in range(1, kills + 1):
                self._kill(number)
                if number % verify_every == 0:
                    self._verify_new()
            newest = _end_writing(talker)
            self._end(database, newest)
        self._verify(self._noted)
        self._check_leftovers()
        self._tally.positions += len(self._noted)
        self._tally.commits += len(self._states())
        self._tally.chapters += 1

    @contextmanager
    def _application(self, database: Path) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "tests.campaigns.talker", str(database), str(self._log)]
        command += ["--seed", str(self._rng.getrandbits(32)), "--messages", str(self._messages)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the application did not start"
            yield process
        finally:
            try:
                process.communicate(timeout=30)  # the end of stdin closes the application in order
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _kill(self, number: int) -> None:
        first = number <= len(_AT_FIRST) and not self._noted
        moment = _AT_FIRST[number - 1] if first else self._rng.choice(_USUAL)
        event, longest = _MOMENTS[moment]
        with Daemon(self._rig) as daemon:
            if event is not None:
                daemon.wait_for(event, _EVENT_SECONDS)
            until = time.monotonic() + self._rng.uniform(0.0, longest)
            while (left := until - time.monotonic()) > 0:
                self._note()
                time.sleep(min(_LOOK_SECONDS, max(0.0, left)))
            if moment != "starting":
                self._note()
            if daemon.process.poll() is not None:
                self._tally.blame(f"the daemon ended by itself with {daemon.process.returncode}")
            daemon.kill()
            self._count(daemon)
        self._note()
        self._tally.kills[moment] += 1

    def _note(self) -> None:
        """Remember what `status` shows, and that it may only go forward."""
        status = self._rig.status()
        generation = status["generation"]
        if generation is not None and self._generation not in {None, generation}:
            self._tally.blame(f"generation {self._generation} became {generation}")
        self._generation = generation or self._generation
        stored = stored_in(status)
        last = self._noted[-1] if self._noted else None
        if stored is None or stored == last:
            if stored is None and last is not None:
                self._tally.blame(f"status showed {last} as stored, and then nothing")
            return
        if last is not None and stored[1] < last[1]:
            self._tally.blame(f"status showed seq {last[1]} as stored, and then {stored[1]}")
        self._noted.append(stored)

    def _count(self, daemon: Daemon) -> None:
        for line in daemon.lines:
            self._tally.events[line["event"]] += 1
            if line["event"] in _FORBIDDEN:
                self._tally.blame(f"{line['event']}: {line.get('error')}")

    def _verify_new(self) -> None:
        """In this process what is new; the newest once more by the commands, as a user would."""
        self._verify(self._noted[self._verified :])
        self._verified = len(self._noted)
        if not self._noted:
            return
        answer = json.loads(self._rig.run("status", "--json", "--config", str(self._rig.config)).stdout)
        if stored_in(answer["databases"]["chat"]) != self._noted[-1]:
            self._tally.blame(f"`syncd status` shows {answer} and not {self._noted[-1]}")
        restored = self._directory / "by-command.db"
        self._restore("--seq", str(self._noted[-1][1]), to=restored)
        restored.unlink(missing_ok=True)

    def _verify(self, positions: list[tuple[str, int]]) -> None:
        if not positions:
            return
        states = self._states()
        to = self._directory / "restored.db"

        def look(restored: Restored) -> list[str]:
            self._tally.restores += 1
            return _problems(to, restored, states)

        for sentence in restore_each(self._rig, positions, to, look):
            self._tally.blame(sentence)
        to.unlink(missing_ok=True)

    def _states(self) -> set[str]:
        """The states that the application committed, and one that it may just be committing."""
        return set(self._log.read_text().splitlines())

    def _end(self, database: Path, newest: int) -> None:
        """The application is silent and its database open: let everything be stored, and compare."""
        with Daemon(self._rig) as daemon:
            try:
                # Until then it may not even handle signals, and `status` shows what the last one stored.
                if not daemon.wait_for(Event.DAEMON_READY, PATIENCE):
                    self._tally.blame("the daemon was not ready in the end")
                self._rig.wait_level(1.5)
                if code := daemon.stop():
                    self._tally.blame(f"the daemon ended with exit code {code}")
            except (TimeoutError, subprocess.TimeoutExpired) as e:
                self._tally.blame(str(e))
            self._count(daemon)
        self._note()
        restored = self._directory / "final.db"
        if not self._restore(to=restored):
            return
        truth = fold(database, _made(self._directory / "fold"))
        if restored.read_bytes() == truth.read_bytes():
            self._tally.identical += 1
        else:
            self._tally.blame("the restored file is not the database")
        if (reached := _newest(restored)) != newest:
            self._tally.blame(f"the application committed message {newest}, restored was {reached}")
        log = self._rig.run("log", "chat", "--json", "--config", str(self._rig.config))
        generations = [entry["generation"] for entry in json.loads(log.stdout)]
        if generations != [self._generation]:
            self._tally.blame(f"status showed generation {self._generation}, the archive has {generations}")

    def _restore(self, *arguments: str, to: Path) -> bool:
        """From the bare archive, with nothing but the kit."""
        rig = self._rig
        done = rig.run(
            *("restore", "--identity", str(rig.kit), "--passphrase-file", str(rig.passphrase_file)),
            *("--to", str(to), *arguments),
        )
        if done.returncode:
            self._tally.blame(f"syncd restore {' '.join(arguments)}: {done.stderr}")
        return not done.returncode

    def _check_leftovers(self) -> None:
        errors = (self._directory / "daemon.err").read_text()
        if errors:
            self._tally.blame(f"the daemon wrote to stderr: {errors[-2000:]}")


def _end_writing(talker: subprocess.Popen[str]) -> int:
    assert talker.stdin is not None
    assert talker.stdout is not None
    talker.stdin.write("stop\n")
    talker.stdin.flush()
    return int(json.loads(talker.stdout.readline())["newest"])


def _problems(path: Path, restored: Restored, states: set[str]) -> list[str]:
    found = integrity_check(path)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as conn:
        newest, oldest, count = conn.execute("SELECT max(id), min(id), count(*) FROM messages").fetchone()
        rooms, total = conn.execute("SELECT (SELECT sum(posted) FROM rooms), posted FROM total").fetchone()
    if not newest == rooms == total or count != newest - oldest + 1:
        found.append(f"newest {newest}, oldest {oldest}, kept {count}, rooms {rooms}, total {total}")
    if f"{newest} {oldest}" not in states:
        found.append(f"the application never committed {newest} {oldest}")
    if path.stat().st_size != restored.bytes:
        found.append(f"{path.stat().st_size} bytes, not {restored.bytes}")
    return found


def _newest(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as conn:
        return int(conn.execute("SELECT max(id) FROM messages").fetchone()[0])


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
