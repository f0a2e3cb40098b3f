"""What must be true after every step of a history, and at its end.

- What went had been promised by no rule, hold or lease, and a tombstone older than the grace named it.
- Between prunes nothing is lost; no manifest ever misses a pack.
- Every position restores to the bytes that the database had.
"""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from syncd.errors import ClockError
from syncd.policy.retention import Retention
from syncd.prune import prune
from syncd.verify import verify
from tests.campaigns.calendar_oracle import (
    LAST,
    SKEW_MS,
    Position,
    Rule,
    View,
    broken,
    is_future,
    last_in_use,
    look,
    may,
    may_epochs,
    must,
    reachable,
)
from tests.campaigns.calendar_world import Died, Host, Line, Target, Time, Watch
from tests.support.fakes import IDENTITY, SIGNING_KEY, Recorder
from tests.verbs.bench import NAME, restore

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
VERIFY_KEY: Final = SIGNING_KEY.verify_key


@dataclass
class Tally:
    """What happened, over all histories."""

    histories: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def note(self, what: str, count: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + count


class Wrong(AssertionError):
    """A promise was broken."""


def draw_rule(rng: random.Random, *, max_share: float | None = None) -> Rule:
    def count() -> int:
        return rng.choice([0, 0, 0, 1, 2, 3, 5])

    return Rule(
        pitr_ms=rng.choice([0, 5 * MINUTE, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 30 * DAY]),
        hourly=count(),
        daily=count(),
        weekly=count(),
        monthly=count(),
        yearly=count(),
        minimum=rng.randint(1, 3),
        max_share=rng.choice([0.1, 0.25, 0.5, 1.0]) if max_share is None else max_share,
    )


def draw_grace(rng: random.Random) -> int:
    return rng.choice([MINUTE, HOUR, DAY, 7 * DAY])


@dataclass
class Pruning:
    """A run, as the oracle needs it: the rule, and how long a tombstone has to be there."""

    rule: Rule
    grace_ms: int


class Checked:
    """The world of one history, and its promises."""

    def __init__(self, directory: Path, seed: str, tally: Tally, *, trace: bool = False) -> None:
        self.rng = random.Random(f"calendar {seed}")
        self.tally = tally
        self.time = Time()
        self.clock = Watch(self.time)
        self.host = Host(directory, self.clock, self.rng)
        count = 2 if self.rng.random() < 0.3 else 1
        self.targets = [Target(name, Watch(self.time)) for name in ("main", "other")[:count]]
        self.pruning = Pruning(draw_rule(self.rng), draw_grace(self.rng))
        self._restored = directory / "restored.db"
        self._trace = trace

    def _pass(self, ms: int) -> None:
        self.time.advance(ms)

    async def _note_newest(self, target: Target) -> None:
        replica = self.host.replica
        assert replica is not None
        stored = (await replica.state.target(target.name)).stored
        if replica.chain is not None and stored is not None:
            target.newest = replica.chain.generation, stored

    async def _pruned(
        self,
        target: Target,
        runs: list[Pruning],
        beside: list[Coroutine[None, None, object]],
        *,
        die_at: int = 0,
    ) -> None:
        """Prune, with others beside it; then see what went and what had to stay."""
        before, held, now_ms = target.view(), dict(target.held), self.clock.now_ms()
        apart_ms = abs(self.clock.error_ms - target.clock.error_ms)
        works = [self._prune(target, run, die_at) for run in runs]
        results = await asyncio.gather(*works, *beside, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ClockError | Died):
                raise result
        refused = any(isinstance(result, ClockError) for result in results)
        if refused != (apart_ms > SKEW_MS) and not die_at:
            raise Wrong(f"the clocks are {apart_ms} ms apart, refused: {refused}")
        if beside:
            await self._note_newest(target)
        after = target.view()
        both = look(held | target.held, target.known)
        needed = set(before.objects)
        for run in runs:
            needed &= must(before, run.rule, now_ms) & must(both, run.rule, now_ms)
        gone = before.objects - after.objects
        self.tally.note("objects deleted", len(gone))
        if gone & needed:
            raise Wrong(f"{target.name}: deleted although promised: {sorted(gone & needed)}")
        if refused and gone:
            raise Wrong(f"{target.name}: deleted by a wrong clock: {sorted(gone)}")
        grace_ms = min(run.grace_ms for run in runs)
        ripe = {n for _, t, ms in before.tombstones if ms + grace_ms <= now_ms for n in t.names}
        if gone - ripe:
            raise Wrong(f"{target.name}: deleted without a tombstone older than the grace: {gone - ripe}")
        self._promised(target, before, after, needed)

    async def _prune(self, target: Target, run: Pruning, die_at: int) -> None:
        line = Line(target.held, target.clock, self.rng)
        line.arm(die_at)
        try:
            await prune(
                line,
                database=NAME,
                retention=Retention(**vars(run.rule)),
                grace_ms=run.grace_ms,
                clock=self.clock,
                log=Recorder(),
                verify_key=VERIFY_KEY,
                dry_run=False,
            )
        except Died:
            self.tally.note("deaths in prune")
            raise
        except ClockError:
            self.tally.note("prunes refused")
            raise
        self.tally.note("prunes")

    def _promised(self, target: Target, before: View, after: View, needed: set[str]) -> None:
        """Positions that the needed objects gave are still there, and so is the newest."""
        kept = View(
            [p for p in before.points if p.name in needed],
            [p for p in before.pieces if p.name in needed],
            before.packs,
        )
        now = reachable(after)
        wanted = reachable(kept) & self.host.truth.keys()
        target.undeleted = [each for each in target.undeleted if self.clock.now_ms() < each[0]]
        for _, positions in target.undeleted:
            wanted |= positions
        if target.newest is not None:
            wanted |= self._newest(before, target.newest)
        if wanted - now:
            raise Wrong(f"{target.name}: cannot be restored any more: {sorted(wanted - now)}")
        self.tally.note("positions let go", len(target.could - now))
        target.could = now & self.host.truth.keys()

    def _newest(self, view: View, newest: Position) -> set[Position]:
        """The newest position of the generation in use, where its name or the store's times show that it is.

        Where both clocks were wrong at its beginning, and it is older by both, nothing shows it.
        """
        now_ms = self.clock.now_ms()
        counting = [p for p in view.points if not is_future(now_ms, p.generation, p.captured_ms, p.stored_ms)]
        if not counting:
            return set()
        shown = {max(p.generation for p in counting), last_in_use(view, counting, now_ms)}
        mine = {p for p in reachable(view) & self.host.truth.keys() if p[0] == newest[0]}
        return {max(mine)} if mine and newest[0] in shown else set()

    def _nothing_lost(self, target: Target) -> None:
        view = target.view()
        now = reachable(view) & self.host.truth.keys()
        if target.could - now:
            raise Wrong(f"{target.name}: lost without a prune: {sorted(target.could - now)}")
        if wrong := broken(view):
            raise Wrong(f"{target.name}: {wrong}")
        target.could = now

    async def _restore(self, target: Target, position: Position, line: Line | None = None) -> None:
        generation, seq = position
        store = line or Line(target.held, target.clock, self.rng)
        self._restored.unlink(missing_ok=True)
        await restore(store, self._restored, seq=seq, generation=generation, force=True)
        if self._restored.read_bytes() != self.host.truth[position].raw:
            raise Wrong(f"{target.name}: {position} restores to something else")
        self.tally.note("restores")

    async def _restore_at(self, target: Target, position: Position) -> None:
        """By its time, where the times of the generation are in order."""
        mine = sorted(p for p in target.could if p[0] == position[0])
        times = [self.host.truth[p].captured_ms for p in mine]
        if times != sorted(set(times)):
            return
        self._restored.unlink(missing_ok=True)
        at_ms = self.host.truth[position].captured_ms
        store = Line(target.held, target.clock, self.rng)
        restored = await restore(store, self._restored, at_ms=at_ms, generation=position[0])
        found = (restored.generation, restored.seq), self._restored.read_bytes()
        if found != (position, self.host.truth[position].raw):
            raise Wrong(f"{target.name}: {position} of {at_ms} restores to {found[0]}")
        self.tally.note("restores by time")

    async def _verified(self, target: Target) -> None:
        if not target.view().objects:
            return
        report = await verify(
            Line(target.held, target.clock, self.rng),
            database=NAME,
            verify_key=VERIFY_KEY,
            rng=self.rng,
            identity=IDENTITY,
            sample=1.0,
        )
        if report.findings:
            raise Wrong(f"{target.name}: verify says {report.findings[:3]}")
        self.tally.note("verifications")

    async def _pruned_out(self, target: Target, run: Pruning) -> int:
        """When the run was that found nothing; objects, manifests and epochs go one after the other."""
        for _ in range(20):
            before, now_ms = target.view(), self.clock.now_ms()
            await self._pruned(target, [run], [])
            after = target.view()
            if after.objects == before.objects and not after.tombstones:
                return now_ms
            self._pass(run.grace_ms + MINUTE)
        raise Wrong(f"{target.name}: prunes come to no end")

    async def _garbage_is_gone(self, target: Target) -> None:
        """Runs a grace apart until one finds nothing; what is left is needed, or of a doubtful date."""
        rule, grace_ms = draw_rule(self.rng, max_share=1.0), self.pruning.grace_ms
        self._pass(grace_ms + DAY + HOUR)
        last_ms = await self._pruned_out(target, Pruning(rule, grace_ms))
        after = target.view()
        allowed = may(after, rule, last_ms)
        needed = {name for point in after.points for name in point.packs}
        allowed |= needed
        leased = {r.generation for lease, _ in after.leases for r in lease.ranges}
        allowed |= {name for name in after.packs if name.split("/")[1] in leased}
        of = {p.generation for p in after.points} | {p.generation for p in after.pieces} | leased
        of |= {name.split("/")[1] for name in after.packs}
        here = {name.split("/")[1] for name in after.objects}
        of |= {max((g for g in here if not is_future(last_ms, g)), default="")}
        doubtful = {name.split("/")[1] for name in after.packs if name not in needed} | leased
        for generation in of:
            allowed |= may_epochs(after, generation) if generation not in doubtful else set(after.epochs)
        allowed |= {
            name
            for name, ms in (after.packs | after.epochs).items()
            if is_future(last_ms, name.split("/")[1], ms)
        }
        if left := after.objects - allowed:
            raise Wrong(f"{target.name}: garbage is left: {sorted(left)}")
        ends = [until_ms for _, until_ms in after.leases] + [h.until_ms for h in after.holds]
        if min(ends, default=LAST) <= last_ms:
            raise Wrong(f"{target.name}: marks that mean nothing are left")
        empty = [n for n, t, _ in after.tombstones if not set(t.names) & after.objects]
        if empty:
            raise Wrong(f"{target.name}: tombstones of nothing are left: {empty}")
