"""One random history: what the application, the daemon, the operators and the clocks do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from syncd.errors import NoRestorePoint
from syncd.format.marks import Range
from syncd.format.names import hold_name
from syncd.marks import put_hold
from syncd.prune import undelete
from tests.campaigns.calendar_checks import DAY, HOUR, MINUTE, Checked, Pruning, Wrong, draw_grace, draw_rule
from tests.campaigns.calendar_oracle import SKEW_MS
from tests.campaigns.calendar_world import Died, Line, Target
from tests.support.fakes import SIGNING_KEY
from tests.verbs.bench import NAME


class Life(Checked):
    """One history. `trace` prints each step."""

    async def live(self, steps: int) -> None:
        """Raises Wrong; and what no part of syncd should raise."""
        self.host.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
        await self._follow()
        names, weights = zip(*((name, weight) for name, (weight, _) in STEPS.items()), strict=True)
        try:
            for _ in range(steps):
                name = self.rng.choices(names, weights)[0]
                self.tally.steps[name] = self.tally.steps.get(name, 0) + 1
                if self._trace:
                    print(f"{self.clock.now_ms()} {name}", flush=True)
                await STEPS[name][1](self)
                self._pass(self.rng.choice([1000, MINUTE, 20 * MINUTE, HOUR]))
                for target in self.targets:
                    self._nothing_lost(target)
            await self._end()
        finally:
            await self.host.stop()

    # What the application does, and how the daemon follows.

    async def change(self) -> None:
        rng = self.rng
        for _ in range(rng.randint(1, 3)):
            size = rng.choice([10, 400, 3000, 20_000])
            self.host.sql(
                rng.choice(
                    [
                        f"INSERT INTO t (a) VALUES (randomblob({size}))",
                        f"INSERT INTO t (a) VALUES (zeroblob({size}))",
                        f"UPDATE t SET a = randomblob({size}) WHERE id % 3 = {rng.randrange(3)}",
                        f"DELETE FROM t WHERE id % 4 = {rng.randrange(4)}",
                    ]
                )
            )
        odd = rng.random()
        if odd < 0.08:
            self.host.sql("VACUUM")
        elif odd < 0.12:
            self.host.sql(f"PRAGMA page_size = {rng.choice([512, 1024, 4096])}", "VACUUM")
        elif odd < 0.16:
            self.host.sql("DELETE FROM t", "VACUUM")
        await self._capture()

    async def ship(self) -> None:
        await self._work(lambda target: self.host.shipper(target)[0].ship(), "ship", crash=0.25)

    async def snapshot(self) -> None:
        await self._work(self._snapshot, "snapshot", crash=0.35)

    async def follow(self) -> None:
        """What mostly happens: a change, a shipment, now and then a snapshot."""
        for _ in range(self.rng.randint(1, 6)):
            await self.change()
            await self._follow()
            if self.rng.random() < 0.3:
                await self._work(self._snapshot, "snapshot", crash=0)
            self._pass(self.rng.choice([MINUTE, HOUR, 6 * HOUR]))

    async def restart(self) -> None:
        await self.host.stop()

    async def lose_state(self) -> None:
        await self.host.lose_state()
        await self._follow()

    async def switch_target(self) -> None:
        target = self.targets[-1]
        if len(self.targets) > 1:
            await self.host.stop()
            target.in_use = not target.in_use

    # Clocks.

    async def time_passes(self) -> None:
        self._pass(self.rng.choice([10 * MINUTE, 3 * HOUR, DAY, 3 * DAY, 10 * DAY, 40 * DAY]))

    async def clock_jumps(self) -> None:
        ms = self.rng.choice([2 * MINUTE, HOUR, 12 * HOUR, 2 * DAY, 30 * DAY, 200 * DAY])
        self.clock.error_ms += ms if self.rng.random() < 0.5 else -ms
        if self.rng.random() < 0.5:
            for target in self.targets:
                target.clock.error_ms = self.clock.error_ms

    async def clocks_are_right(self) -> None:
        for clock in (self.clock, *(target.clock for target in self.targets)):
            clock.error_ms = 0

    # Retention.

    async def new_rule(self) -> None:
        self.pruning = Pruning(draw_rule(self.rng), draw_grace(self.rng))

    async def prune(self) -> None:
        await self._pruned(self.rng.choice(self.targets), [self.pruning], [])

    async def prune_and_crash(self) -> None:
        await self._pruned(self.rng.choice(self.targets), [self.pruning], [], die_at=self.rng.randint(1, 60))

    async def prune_for_days(self) -> None:
        target = self.rng.choice(self.targets)
        for _ in range(3):
            await self._pruned(target, [self.pruning], [])
            self._pass(self.pruning.grace_ms + MINUTE)

    async def prune_beside(self) -> None:
        """A prune or two of other hosts beside what the daemon does."""
        target = self.rng.choice([t for t in self.targets if t.in_use])
        await self._open()
        shipper, _ = self.host.shipper(target)
        runs = [self.pruning] * self.rng.randint(1, 2)
        if self.rng.random() < 0.3:
            runs.append(Pruning(draw_rule(self.rng), draw_grace(self.rng)))
        await self._pruned(target, runs, [shipper.ship(), self._snapshot(target)])

    async def restore_beside(self) -> None:
        """A restore begins, prunes come and go, with a rule that would let it all go; then it ends."""
        target = self.rng.choice(self.targets)
        known = sorted(target.could)
        if not known or abs(self.clock.error_ms - target.clock.error_ms) > SKEW_MS:
            return
        position = self.rng.choice(known)
        line = Line(target.held, target.clock, self.rng)
        line.gate.clear()
        task = asyncio.ensure_future(self._restore(target, position, line))
        try:
            leased = asyncio.ensure_future(line.leased.wait())
            await asyncio.wait([leased, task], return_when=asyncio.FIRST_COMPLETED)
            leased.cancel()
            for _ in range(3):
                await self._pruned(target, [Pruning(draw_rule(self.rng, max_share=1.0), HOUR)], [])
                self._pass(2 * HOUR)
            line.gate.set()
            await task
        except NoRestorePoint as e:
            raise Wrong(f"{position} was taken away beside the restore that reads it: {e}") from e
        finally:
            line.gate.set()
            task.cancel()
            await asyncio.wait([task])
        self.tally.note("restores beside prunes")

    async def hold(self) -> None:
        target = self.rng.choice(self.targets)
        known = sorted(target.could)
        if not known:
            return
        now_ms = self.clock.now_ms()
        ranges = []
        for _ in range(self.rng.randint(1, 2)):
            generation, seq = self.rng.choice(known)
            ranges.append(Range(generation, seq, seq + self.rng.randrange(4)))
        await put_hold(
            Line(target.held, target.clock, self.rng),
            self.clock,
            SIGNING_KEY,
            database=NAME,
            until_ms=now_ms + self.rng.choice([HOUR, 3 * DAY, 60 * DAY]),
            reason="somebody asked",
            ranges=ranges,
        )

    async def release(self) -> None:
        target = self.rng.choice(self.targets)
        holds = target.view().holds
        if holds:
            released = self.rng.choice(holds)
            await Line(target.held, target.clock, self.rng).delete(hold_name(released.mark_id))
            target.undeleted.clear()

    async def undelete(self) -> None:
        target = self.rng.choice(self.targets)
        before = target.view()
        doomed = {name for _, tombstone, _ in before.tombstones for name in tombstone.names}
        line = Line(target.held, target.clock, self.rng)
        line.arm(self.rng.choice([0, 0, self.rng.randint(1, 20)]))
        until_ms = self.clock.now_ms() + self.rng.choice([2 * DAY, 30 * DAY])
        try:
            await undelete(line, database=NAME, clock=self.clock, signing_key=SIGNING_KEY, until_ms=until_ms)
        except NoRestorePoint:
            return
        except Died:
            self.tally.note("deaths in undelete")
            return
        saved = {p.order for p in before.points if p.name in doomed}
        for piece in before.pieces:
            if piece.name in doomed:
                saved |= {(piece.generation, seq) for seq in range(piece.first, piece.last + 1)}
        saved &= target.could
        target.undeleted.append((until_ms, frozenset(saved)))
        self.tally.note("positions undeleted", len(saved))

    async def look_closely(self) -> None:
        target = self.rng.choice(self.targets)
        await self._verified(target)
        for position in self.rng.sample(sorted(target.could), min(2, len(target.could))):
            await self._restore(target, position)

    # How it is done.

    async def _open(self) -> None:
        await self.host.open(self.targets)
        await self._capture()

    async def _capture(self) -> None:
        await self.host.open(self.targets)
        await self.host.capture(max_bytes=self.rng.choice([1, 8 << 20]))
        self.tally.note("positions")
        self._pass(1000)

    async def _follow(self) -> None:
        await self._work(lambda target: self.host.shipper(target)[0].ship(), "ship", crash=0)

    async def _snapshot(self, target: Target) -> None:
        await self.host.shipper(target)[0].snapshot("the calendar")

    async def _work(self, what: Callable[[Target], Awaitable[object]], name: str, *, crash: float) -> None:
        """Do it for every target in use; the process may die of it."""
        await self._open()
        for target in self.targets:
            if target.in_use and self.host.replica is not None:
                _, line = self.host.shipper(target)
                line.arm(self.rng.randint(1, 14) if self.rng.random() < crash else 0, self.host.leave)
                try:
                    await what(target)
                except Died:
                    self.tally.note(f"deaths in {name}")
                    await self.host.stop()
                else:
                    line.arm(0)
                    await self._note_newest(target)

    async def _end(self) -> None:
        await self.clocks_are_right()
        await self.restart()
        await self._follow()
        for target in self.targets:
            self._nothing_lost(target)
            await self._garbage_is_gone(target)
        for target in self.targets:
            await self._verified(target)
            for position in sorted(target.could):
                await self._restore(target, position)
                await self._restore_at(target, position)


STEPS: Final[dict[str, tuple[int, Callable[[Life], Awaitable[None]]]]] = {
    "follow": (12, Life.follow),
    "change": (6, Life.change),
    "ship": (6, Life.ship),
    "snapshot": (8, Life.snapshot),
    "restart": (3, Life.restart),
    "state lost": (2, Life.lose_state),
    "target switched": (2, Life.switch_target),
    "time passes": (8, Life.time_passes),
    "clock jumps": (2, Life.clock_jumps),
    "clocks right": (3, Life.clocks_are_right),
    "new rule": (3, Life.new_rule),
    "prune": (6, Life.prune),
    "prune, crash": (4, Life.prune_and_crash),
    "prunes": (4, Life.prune_for_days),
    "prune beside": (4, Life.prune_beside),
    "restore beside": (2, Life.restore_beside),
    "hold": (3, Life.hold),
    "release": (1, Life.release),
    "undelete": (3, Life.undelete),
    "look": (2, Life.look_closely),
}
