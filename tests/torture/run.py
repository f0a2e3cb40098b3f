"""One profile on one store for some minutes: fault after fault, and what must hold after each.

- Before a fault all is well; while it lasts, its words must be told within 10 s; when it is over, progress
  must resume by itself within the profile's `resume_seconds`.
- After each fault the newest stored position and some older ones are restored and checked.
- After every few faults, and in the end, the application pauses, and what is restored is its database,
  byte for byte.
- Which faults, which styles, how long: by the seed. The machine's own timing is not.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from syncd.log import Event
from syncd.restore import Restored
from tests.campaigns.archive import restore_each
from tests.campaigns.rig import Depot
from tests.support.oracle import fold
from tests.torture.faults import Fault
from tests.torture.invariants import SILENCE_SECONDS, problems
from tests.torture.network import NetworkFault
from tests.torture.profiles import Profile
from tests.torture.proxy import ProxyProcess
from tests.torture.records import Record, slowest
from tests.torture.world import World

_START_SECONDS: Final = 60.0
_LEVEL_SECONDS: Final = 90.0
_GOES_ON_SECONDS: Final = 4.0
_LOST_SECONDS: Final = 150.0  # the next snapshot, or drill, looks
_FOUND: Final = frozenset({Event.TARGET_ROLLED_BACK, Event.TARGET_LOST})
_OLDER: Final = 3
_AROUND_SECONDS: Final = 12.0  # what a fault takes besides its own time
_COMPARE_EVERY: Final = 3
_QUIET_SECONDS: Final = 1.5
_IDLE_SECONDS: Final = 5.0
_IDLE_TRIES: Final = 4


class Run:
    """See the module. `directory` is empty, and its name unique."""

    def __init__(
        self,
        directory: Path,
        depot: Depot,
        proxy: ProxyProcess | None,
        profile: Profile,
        *,
        seed: int,
        record: Record,
    ) -> None:
        self._rng = random.Random(f"{seed} {profile.name} {bool(depot.endpoint_url)}")
        self._world = World(directory, depot, proxy, profile, self._rng, record)
        self._record = record
        self._profile = profile

    def run(self, end: float) -> None:
        """Until `end` (monotonic seconds), and what is begun is finished."""
        world = self._world
        with world.open():
            if world.until(lambda: bool(world.watch.noted), _START_SECONDS) is None:
                self._record.blame(f"nothing was stored within {_START_SECONDS:.0f} s of the start")
                return
            for number, kind in enumerate(self._kinds(end), 1):
                self._one(kind)
                if number % _COMPARE_EVERY == 0:
                    self._compare()
            self._compare()
            self._idle()
            self._check(world.watch.noted)
            if code := world.stop():
                self._record.blame(f"the daemon ended with exit code {code}")
        self._record.commits += world.application.commits
        for what, value in world.application.worst.items():
            self._record.measure(f"application: {what}", value)

    def _kinds(self, end: float) -> Iterator[type[Fault]]:
        """Each kind once in every round, in an order of its own; what does not end in time is left out.

        The first one always comes.
        """
        possible = [kind for kind in self._profile.faults if kind.possible(self._world)]
        left_out = [kind for kind in self._profile.faults if kind not in possible]
        self._record.skipped |= {kind.name() for kind in left_out if not issubclass(kind, NetworkFault)}
        first = True
        while time.monotonic() < end:
            for kind in self._rng.sample(possible, len(possible)):
                lasts = _AROUND_SECONDS + kind.seconds[1] + (_LOST_SECONDS if kind.loses else 0.0)
                if first or time.monotonic() + lasts < end:
                    yield kind
                first = False
            if time.monotonic() + _AROUND_SECONDS + min(kind.seconds[1] for kind in possible) > end:
                return

    def _one(self, kind: type[Fault]) -> None:
        world, rng = self._world, self._rng
        style = kind.style if kind.style in self._profile.styles else rng.choice(self._profile.styles)
        world.application.write(style)
        world.pass_time(rng.uniform(1.0, 4.0))
        fault = kind(rng)
        lasts = rng.uniform(*kind.seconds)
        print(f"{world.directory.name}: {kind.name()} for {lasts:.0f} s, {style}", flush=True)
        world.watch.expect(fault)
        since, started, noted = len(world.lines), time.monotonic(), len(world.watch.noted)
        fault.begin(world)
        if kind.words:
            self._await_words(fault, since, world.application.newest)
        world.pass_time(max(0.0, lasts - (time.monotonic() - started)))
        fault.end(world)
        self._record.faults[kind.name()] += 1
        if not world.application.is_writing:
            world.application.write("single")
        self._await_progress(fault)
        if kind.loses:
            self._await_mended(fault, since, noted)
        world.watch.expect(None)
        self._check(self._some())

    def _await_words(self, fault: Fault, since: int, newest: int) -> None:
        world = self._world

        def told() -> bool:
            log = not fault.logs or any(_has(str(line), fault.words) for line in world.lines[since:])
            return log and world.watch.loud and _has(world.watch.text, fault.words)

        seconds = world.until(told, SILENCE_SECONDS + 2.0)
        idle = world.application.is_writing and world.application.newest <= newest + 1
        if seconds is None and (idle or world.watch.still_seconds < _GOES_ON_SECONDS):
            return  # nothing was committed (in the midst of an import), or it does not hinder
        if seconds is None:
            lines = [line for line in world.lines[since:] if line.get("level") != "info"][-3:]
            sentence = f"{fault.name()} was not named within {SILENCE_SECONDS:.0f} s"
            self._record.blame(f"{sentence}: {world.watch.brief}; log: {lines}")
        else:
            slowest(self._record.told, fault.name(), seconds)

    def _await_progress(self, fault: Fault) -> None:
        """Something captured after the end of the fault is stored, and all is said to be well."""
        world = self._world
        before, patience = world.watch.captured, self._profile.resume_seconds

        def resumed() -> bool:
            noted = world.watch.noted[-1]
            return not world.watch.loud and (noted[0] != before[0] or noted[1] > before[1])

        seconds = world.until(resumed, patience)
        if seconds is None:
            sentence = f"no progress within {patience:.0f} s of the end of {fault.name()}"
            self._record.blame(f"{sentence}: {world.watch.brief}")
        else:
            slowest(self._record.resumed, fault.name(), seconds)

    def _await_mended(self, fault: Fault, since: int, noted: int) -> None:
        """What the store lost is found by itself, told, and then all that is stored later can be restored."""
        world = self._world
        assert world.proxy is not None
        if not world.proxy.counts()["lost"]:
            return

        if not (
            self._hear(_FOUND, since) and self._hear(frozenset({Event.SNAPSHOT_STORED}), len(world.lines))
        ):
            self._record.blame(f"what was lost during {fault.name()} was not found: {world.watch.brief}")
        self._await_progress(fault)
        del world.watch.noted[noted:-1]

    def _hear(self, events: frozenset[Event], since: int) -> bool:
        """Whether one of them is logged in time, behind so many lines."""
        lines = self._world.lines
        seconds = self._world.until(
            lambda: any(line.get("event") in events for line in lines[since:]), _LOST_SECONDS
        )
        return seconds is not None

    def _some(self) -> list[tuple[str, int]]:
        noted = self._world.watch.noted
        return [noted[-1], *self._rng.sample(noted, min(_OLDER, len(noted)))]

    def _check(self, positions: list[tuple[str, int]]) -> None:
        world = self._world
        to = world.directory / "restored.db"
        states = world.application.states()

        def look(restored: Restored) -> list[str]:
            self._record.restores += 1
            return problems(to, restored, states)

        for sentence in restore_each(world.direct, positions, to, look):
            self._record.blame(sentence)
        to.unlink(missing_ok=True)

    def _compare(self) -> None:
        """In a pause of the application: all of it is stored, and restored byte for byte."""
        world = self._world
        world.application.ask("pause")
        truth = fold(world.database, _made(world.directory / "fold"))
        quiet = [time.monotonic(), -1.0]

        def level() -> bool:
            seq = float(world.watch.captured[1])
            if seq != quiet[1] or world.watch.loud or not world.direct.is_level():
                quiet[:] = [time.monotonic(), seq]
            return time.monotonic() - quiet[0] > _QUIET_SECONDS

        end = time.monotonic() + _LEVEL_SECONDS
        wrong = ["not everything was stored"]
        # A machine with much to do may let capture wait for longer than we take for silence.
        while wrong and world.until(level, max(0.0, end - time.monotonic())) is not None:
            wrong = self._differences(truth)
            quiet[0] = time.monotonic()
        for sentence in wrong:
            self._record.blame(f"{_LEVEL_SECONDS:.0f} s into a pause: {sentence}: {world.watch.brief}")
        world.watch.expect(None, calm=not wrong)

    def _differences(self, truth: Path) -> list[str]:
        """What is restored now, compared with the application's database."""
        to = self._world.directory / "compared.db"

        def look(_restored: Restored) -> list[str]:
            self._record.restores += 1
            if to.read_bytes() != truth.read_bytes():
                return [f"the restored file is not the database: {_difference(to, truth)}"]
            self._record.identical += 1
            return []

        wrong = restore_each(self._world.direct, [self._world.watch.noted[-1]], to, look)
        to.unlink(missing_ok=True)
        return wrong

    def _idle(self) -> None:
        """The application is silent: between the jobs of the calendar there is no request."""
        world = self._world
        if world.proxy is None:
            return
        seen = [world.proxy.counts()["requests"]]
        for _ in range(_IDLE_TRIES):
            world.pass_time(_IDLE_SECONDS)
            seen.append(world.proxy.counts()["requests"])
            if seen[-1] == seen[-2]:
                return
        self._record.blame(f"requests without a change: {seen}")


def _has(text: str, words: tuple[str, ...]) -> bool:
    lower = text.lower()
    return any(word in lower for word in words)


def _difference(one: Path, other: Path) -> str:
    a, b = one.read_bytes(), other.read_bytes()
    pages = [
        at // 4096 + 1 for at in range(0, min(len(a), len(b)), 4096) if a[at : at + 4096] != b[at : at + 4096]
    ]
    return f"{len(a)} and {len(b)} bytes, pages {pages[:10]} of {len(pages)}"


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
