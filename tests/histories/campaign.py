"""The differential test: random histories, captured, shipped, restored and compared byte for byte.

    python -m tests.histories.campaign [--histories 300] [--seed 0] [--rounds 12] [--keep DIR]

Each history is a process that changes a database in every way SQLite offers (`writer`); beside it runs
the real replication: files, state database, outbox, an object store in memory. Sometimes it follows
while the writer writes, sometimes it looks only now and then; it is stopped, or dies (its state
directory is taken as it lies), and starts again. After each round the writer tells the truth about its
database by SQLite's own means, and at the end random kept positions are restored and compared with it.
Exit status 1, and the seeds, where any differs.
"""

import argparse
import asyncio
import hashlib
import random
import shutil
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.clock import SystemClock
from syncd.contents import plan_restore, read_contents
from syncd.envelope.keys import Identity, SigningKey
from syncd.errors import SourceError
from syncd.log import Event
from syncd.replica import Replica, Sealing, open_replica
from syncd.replicate import Replicator
from syncd.restore import Restore
from syncd.ship import Shipper
from syncd.store.memory import MemoryStore
from tests.histories.driver import Writer

_NAME = "chat"
_TARGET = ("memory", "memory:")


class Quiet:
    """A restore's progress that nobody watches."""

    def begin(self, total_bytes: int) -> None:
        pass

    def advance(self, fetched_bytes: int) -> None:
        pass


@dataclass
class Tally:
    """What happened, over all histories."""

    histories: int = 0
    rounds: int = 0
    positions: int = 0
    restores: int = 0
    unreadable: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def note(self, event: Event, /, **_: object) -> None:
        self.events[event] = self.events.get(event, 0) + 1


class Keeper:
    """syncd's side of one history: started, stopped, killed, started again."""

    def __init__(self, directory: Path, database: Path, tally: Tally, rng: random.Random) -> None:
        self._directory = directory
        self._database = database
        self._tally = tally
        self._rng = rng
        self._starts = 0
        self._max_bytes = rng.choice([64 << 10, 256 << 10, 4 << 20])
        self.store = MemoryStore()
        self.signing = SigningKey.generate()
        self.identity = Identity.generate()
        self.replica: Replica | None = None
        self.replicator: Replicator | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> tuple[Replica, Replicator]:
        if self.replica is None or self.replicator is None:
            self.replica = await open_replica(
                _NAME,
                self._directory / f"state-{self._starts}",
                sealing=Sealing(self.signing, (self.identity.recipient,)),
                targets=[_TARGET],
                clock=SystemClock(),
                log=self._tally.note,
            )
            self.replicator = Replicator(
                self.replica,
                self._database,
                max_delay=self._rng.choice([0.05, 0.2]),
                max_bytes=self._max_bytes,
                poll_interval=0.05,
            )
        return self.replica, self.replicator

    async def follow(self) -> None:
        """Capture in the background while the writer writes."""
        _, replicator = await self.start()
        self._following = asyncio.create_task(replicator.run())

    async def settle(self) -> None:
        """End the background."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
            self._following = None

    async def catch_up(self) -> bool:
        """Capture and ship what is committed now. False where nothing can be captured just now."""
        replica, replicator = await self.start()
        try:
            if not await replicator.catch_up(patience=3.0):
                return False
        except SourceError:
            return False
        await Shipper(replica, _TARGET[0], self.store).ship()
        return True

    async def stop(self, *, crash: bool) -> None:
        """Stop in order; or die: the state directory is taken as it lies."""
        await self.settle()
        if self.replica is None or self.replicator is None:
            return
        if crash:
            await asyncio.to_thread(
                shutil.copytree,
                self._directory / f"state-{self._starts}",
                self._directory / f"state-{self._starts + 1}",
            )
            self._starts += 1
        await self.replicator.close()
        await self.replica.close()
        self.replica = self.replicator = None


@dataclass(frozen=True)
class Kept:
    """A position and the truth about it."""

    generation: str
    seq: int
    sha256: str


async def run_history(seed: str, rounds: int, directory: Path, tally: Tally) -> list[str]:
    """One history; returns what went wrong."""
    rng = random.Random(f"campaign {seed}")
    problems: list[str] = []
    kept: list[Kept] = []
    (directory / "app").mkdir()
    with Writer(directory / "app", seed) as writer:
        keeper = Keeper(directory, writer.db, tally, rng)
        try:
            for _ in range(rounds):
                tally.rounds += 1
                style = rng.random()
                if style < 0.6:
                    await keeper.follow()
                elif style < 0.8:
                    await keeper.stop(crash=rng.random() < 0.5)
                answer = await asyncio.to_thread(writer.run, rng.randrange(1, 25))
                for name in answer["ops"]:
                    tally.operations[name] = tally.operations.get(name, 0) + 1
                await keeper.settle()
                problems += await _compare(keeper, writer, directory, kept, tally)
            problems += await _restore_some(keeper, kept, directory, rng, tally)
        finally:
            await keeper.stop(crash=False)
    return problems


async def _compare(
    keeper: Keeper, writer: Writer, directory: Path, kept: list[Kept], tally: Tally
) -> list[str]:
    """The shadow against the truth, now that the writer is still."""
    caught_up = await keeper.catch_up()
    truth: dict[str, Any] = await asyncio.to_thread(writer.truth, directory / "truth")
    replica = keeper.replica
    if not truth["exists"] or truth["hot_journal"] or truth["bytes"] == 0:
        tally.unreadable += 1
        return []
    if not caught_up or replica is None or replica.chain is None:
        return [f"nothing was captured: {truth}"]
    chain = replica.chain
    tally.positions += 1
    shadow = await asyncio.to_thread(replica.shadow.path.read_bytes)
    found = hashlib.sha256(shadow).hexdigest()
    if found != truth["sha256"]:
        return [f"seq {chain.seq}: the shadow ({len(shadow)} bytes) is not the database ({truth})"]
    kept.append(Kept(chain.generation, chain.seq, truth["sha256"]))
    return []


async def _restore_some(
    keeper: Keeper, kept: list[Kept], directory: Path, rng: random.Random, tally: Tally
) -> list[str]:
    problems: list[str] = []
    if len({k.generation for k in kept}) > 1:
        problems.append(f"a new generation was begun: {sorted({k.generation for k in kept})}")
    if not kept:
        return problems
    contents = await read_contents(keeper.store, database=_NAME, verify_key=keeper.signing.verify_key)
    first = {g: min(s.seq for s in contents.snapshots if s.generation == g) for g in contents.generations}
    for position in {kept[-1], *rng.sample(kept, min(4, len(kept)))}:
        if position.seq < first[position.generation]:
            continue
        to = directory / "restored"
        to.unlink(missing_ok=True)
        plan = plan_restore(contents, seq=position.seq, generation=position.generation)
        restore = Restore(
            keeper.store,
            identity=keeper.identity,
            verify_key=keeper.signing.verify_key,
            database=_NAME,
            progress=Quiet(),
        )
        await restore.run(plan, to, force=False)
        tally.restores += 1
        if hashlib.sha256(to.read_bytes()).hexdigest() != position.sha256:
            problems.append(f"{position} restores to something else")
    return problems


def run_campaign(histories: int, seed: int, rounds: int, keep: Path | None) -> Tally:
    """All histories, one after the other."""
    tally = Tally()
    for number in range(histories):
        name = f"{seed}.{number}"
        directory = Path(tempfile.mkdtemp(prefix="syncd-history-"))
        try:
            problems = asyncio.run(run_history(name, rounds, directory, tally))
        except Exception as e:  # noqa: BLE001 - whatever it is, the seed must be reported
            problems = ["".join(traceback.format_exception(e))]
        tally.histories += 1
        if problems:
            tally.failed.append(name)
            print(f"history {name} failed: " + "; ".join(problems), flush=True)
            if keep is not None:
                shutil.copytree(directory, keep / name, dirs_exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.histories.campaign")
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--keep", type=Path, help="where the files of failed histories are left")
    parser.add_argument("--only", help="one history, by the name that a failure printed")
    args = parser.parse_args()
    started = time.monotonic()
    if args.only:
        seed, _, number = args.only.partition(".")
        directory = Path(tempfile.mkdtemp(prefix="syncd-history-"))
        print(directory)
        problems = asyncio.run(run_history(f"{seed}.{number}", args.rounds, directory, tally := Tally()))
        print(problems, tally)
        return bool(problems)
    tally = run_campaign(args.histories, args.seed, args.rounds, args.keep)
    print(f"operations: {dict(sorted(tally.operations.items()))}")
    print(f"events: {dict(sorted(tally.events.items()))}")
    print(
        f"{tally.histories} histories, {tally.rounds} rounds, {tally.positions} positions compared,"
        f" {tally.unreadable} without a readable database, {tally.restores} restores,"
        f" {len(tally.failed)} failed, {time.monotonic() - started:.0f} s"
    )
    return bool(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
