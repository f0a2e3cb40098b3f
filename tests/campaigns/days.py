"""400 days of the calendar with hourly activity: what stays is what the rule names, and storage is flat.

    python -m tests.campaigns.days [--days 400] [--seed N] [--hourly]

A small database of constant size changes every hour, is captured and shipped; a snapshot every six hours
(with --hourly: every hour, and the rule has an hourly part), a prune every day. Time is simulated.

- At the end, what no prune has marked is exactly what the rule names: found by walking the calendar back
  from the last prune, not by any code of syncd. Every position within `pitr` can be reached.
- Each kept restore point, and a sample of the positions, restores to what the database was.
- Storage is flat: once every part of the rule is full but the slow ones (months, years), what a day adds to
  the peak is no more than the restore points that these add.
- Exit 1 where any of this does not hold. The bars show bytes and objects, day by day.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from syncd.policy.retention import Retention
from syncd.prune import prune
from syncd.replicate import Replicator
from syncd.ship import Shipper
from tests.campaigns.calendar_loop import run
from tests.campaigns.calendar_oracle import View, reachable
from tests.campaigns.calendar_world import Host, Line, Target, Time, Watch
from tests.support.fakes import SIGNING_KEY, Recorder
from tests.verbs.bench import NAME, restore

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
ROWS: Final = 60
BARS: Final = " ▁▂▃▄▅▆▇█"
WIDTH: Final = 100
FULL: Final = Retention(pitr_ms=7 * DAY, daily=14, weekly=8, monthly=12, yearly=2, max_share=0.25)
HOURLY: Final = Retention(pitr_ms=2 * DAY, hourly=72, daily=14, weekly=4, monthly=2, max_share=0.25)


class Wrong(AssertionError):
    """Something is not as the rule says."""


@dataclass
class Course:
    """What a run saw: bytes, objects, and epochs among them, at the end of each day."""

    bytes: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    kept: int = 0
    restored: int = 0


def bars(values: Sequence[int]) -> str:
    """One character for each stretch of days: the largest value in it, against the largest of all."""
    per = max(1, -(-len(values) // WIDTH))
    peaks = [max(values[at : at + per]) for at in range(0, len(values), per)]
    top = max([*peaks, 1])
    return "".join(BARS[-(-peak * (len(BARS) - 1) // top)] for peak in peaks)


def named(rule: Retention, snapshots: dict[int, datetime], now: datetime) -> set[int]:
    """The seqs of the restore points that the rule names, by walking the calendar back from `now`."""
    since = now - timedelta(milliseconds=rule.pitr_ms)
    kept = set(sorted(snapshots)[-max(1, rule.minimum) :])
    kept |= {seq for seq, moment in snapshots.items() if moment > since}
    kept |= {max((seq for seq, moment in snapshots.items() if moment <= since), default=min(snapshots))}
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    steps: list[tuple[int, datetime, Callable[[datetime], datetime]]] = [
        (rule.hourly, hour, lambda t: t - timedelta(hours=1)),
        (rule.daily, day, lambda t: t - timedelta(days=1)),
        (rule.weekly, day - timedelta(days=day.weekday()), lambda t: t - timedelta(days=7)),
        (rule.monthly, day.replace(day=1), lambda t: (t - timedelta(days=1)).replace(day=1)),
        (rule.yearly, day.replace(month=1, day=1), lambda t: t.replace(year=t.year - 1)),
    ]
    for left, start, before in steps:
        begin, end, wanted = start, now + timedelta(days=1), left
        while wanted and end > min(snapshots.values()):
            inside = [seq for seq, moment in snapshots.items() if begin <= moment < end]
            kept |= set(inside[-1:])
            wanted -= bool(inside)
            begin, end = before(begin), begin
    return kept


class Days:
    """One run."""

    def __init__(self, directory: Path, rule: Retention, every: int, rng: random.Random) -> None:
        self.time = Time(round(START.timestamp()) * 1000)
        self.clock = Watch(self.time)
        self.host = Host(directory, self.clock, rng)
        self.target = Target("main", self.clock)
        self.course = Course()
        self._restored = directory / "restored.db"
        self._rule, self._every, self._rng = rule, every, rng
        self._truth: dict[int, bytes] = {}
        self._captured: dict[int, datetime] = {}
        self._snapshots: dict[int, datetime] = {}

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time.ms / 1000, UTC)

    @property
    def line(self) -> Line:
        return Line(self.target.held, self.clock, self._rng)

    async def live(self, days: int) -> Course:
        with closing(sqlite3.connect(self.host.path, isolation_level=None)) as app:
            app.execute("PRAGMA synchronous=off")
            app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
            for _ in range(ROWS):
                self._write(app)
            replica = await self.host.open([self.target])
            replicator = Replicator(
                replica, self.host.path, max_delay=5.0, max_bytes=8 << 20, poll_interval=1.0
            )
            shipper, _ = self.host.shipper(self.target)
            try:
                for day in range(days):
                    for hour in range(24):
                        self._write(app)
                        await self._hour(replicator, shipper, taking=(24 * day + hour) % self._every == 0)
                    await self._prune()
                    self._note()
                await self._check()
            finally:
                await replicator.close()
                await self.host.stop()
        return self.course

    def _write(self, app: sqlite3.Connection) -> None:
        """A message comes, the oldest one goes."""
        app.execute("INSERT INTO t (a) VALUES (?)", (self._rng.randbytes(200),))
        app.execute("DELETE FROM t WHERE id <= (SELECT max(id) FROM t) - ?", (ROWS,))

    async def _hour(self, replicator: Replicator, shipper: Shipper, *, taking: bool) -> None:
        captured = self.now
        while not await replicator.catch_up(patience=1.0):
            pass
        assert self.host.replica is not None
        chain = self.host.replica.chain
        assert chain is not None
        self._truth[chain.seq] = self.host.path.read_bytes()
        self._captured[chain.seq] = captured
        self.time.advance(MINUTE)
        await shipper.ship()
        if taking:
            await shipper.snapshot("the calendar")
            self._snapshots[chain.seq] = captured
        self.time.advance(HOUR - MINUTE)

    async def _prune(self) -> None:
        """At the end of the day; the grace is a little less than a day, so that two runs are enough."""
        await prune(
            self.line,
            database=NAME,
            retention=self._rule,
            grace_ms=DAY - HOUR,
            clock=self.clock,
            log=Recorder(),
            verify_key=SIGNING_KEY.verify_key,
            dry_run=False,
        )

    def _note(self) -> None:
        view = self.target.view()
        seqs = {point.seq for point in view.points}
        seqs |= {seq for piece in view.pieces for seq in range(piece.first, piece.last + 1)}
        for seq in self._truth.keys() - seqs:
            del self._truth[seq]
        self.course.bytes.append(sum(len(each.data) for each in self.target.held.values()))
        self.course.objects.append(len(self.target.held))
        self.course.epochs.append(len(view.epochs))

    async def _check(self) -> None:
        view = self.target.view()
        marked = {name for _, tombstone, _ in view.tombstones for name in tombstone.names}
        there = {p.seq for p in view.points if p.name not in marked}
        wanted = named(self._rule, self._snapshots, self.now)
        if there != wanted:
            raise Wrong(f"missing: {sorted(wanted - there)}; too many: {sorted(there - wanted)}")
        self.course.kept = len(there)
        within = self._within(view)
        for seq in sorted(there | set(self._rng.sample(within, min(40, len(within))))):
            await restore(self.line, self._restored, seq=seq, force=True)
            if self._restored.read_bytes() != self._truth[seq]:
                raise Wrong(f"seq {seq} restores to something else")
            self.course.restored += 1

    def _within(self, view: View) -> list[int]:
        since = self.now - timedelta(milliseconds=self._rule.pitr_ms)
        within = [seq for seq, moment in self._captured.items() if moment > since]
        if lost := set(within) - {seq for _, seq in reachable(view)}:
            raise Wrong(f"positions within pitr cannot be reached: {sorted(lost)}")
        return within


def check_flat(course: Course, rule: Retention) -> None:
    """The last fortnight against the one after all but months and years were full, day by day.

    Between them lie at most the monthly and yearly points, each with packs of its own that no other needs,
    and the epochs of these.
    """
    full = round(rule.pitr_ms / DAY) + 2 * max(rule.daily, 7 * rule.weekly) + 10
    if len(course.bytes) < full + 28:
        return
    early, late = slice(full, full + 14), slice(-14, None)
    slow = rule.monthly + rule.yearly
    grown = max(course.objects[late]) - max(course.objects[early])
    if grown > 8 * slow:
        raise Wrong(f"{grown} objects more than when the rule was full")
    if max(course.bytes[late]) > 1.5 * max(course.bytes[early]):
        raise Wrong(f"{max(course.bytes[early])} bytes became {max(course.bytes[late])}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.days")
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hourly", action="store_true", help="hourly snapshots and an hourly rule")
    args = parser.parse_args()
    rule, every = (HOURLY, 1) if args.hourly else (FULL, 6)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="syncd-days-") as directory:
        days = Days(Path(directory), rule, every, random.Random(args.seed))
        try:
            course = run(days.live(args.days))
            check_flat(course, rule)
        except Wrong as e:
            print(f"wrong: {e}")
            show(days.course)
            return 1
    show(course)
    print(
        f"{args.days} days, {course.kept} restore points, just those that the rule names;"
        f" {course.restored} positions restored, {time.monotonic() - started:.0f} s"
    )
    return 0


def show(course: Course) -> None:
    """The bars, and the numbers at their ends."""
    for what, values in (("bytes", course.bytes), ("objects", course.objects), ("epochs", course.epochs)):
        print(f"{what:>8} |{bars(values)}| {values[-1]:,} on the last day, {max(values):,} at most")


if __name__ == "__main__":
    sys.exit(main())
