"""What must be true after a power cut.

- What the world knew is what was said before it: syncd's log, and commands that ended well.
- syncd goes on by itself; what it had sealed and stored is there, and comes back byte for byte.
"""

import contextlib
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from syncd.clock import SystemClock
from syncd.config import Config, load
from syncd.config.secrets import read_signing_key
from syncd.contents import find_plan, read_contents
from syncd.daemon import Daemon
from syncd.envelope.keys import Identity, VerifyKey
from syncd.envelope.kit import parse_kit
from syncd.log import configure
from syncd.restore import Restore
from syncd.state import read_status
from syncd.store.directory import DirectoryStore
from tests.crashes.session import NAME
from tests.crashes.syscalls import Operation, Said, Synced
from tests.verbs.bench import NoProgress

_SIDES: Final = ("-wal", "-shm", "-journal")
_RESTORES: Final = 3


@dataclass(slots=True)
class Life:
    """A recorded life in `directory`, and the identity that opens it."""

    directory: Path
    operations: list[Operation]
    identity: Identity

    @property
    def own(self) -> Path:
        return self.directory / "own"

    @property
    def app(self) -> Path:
        return self.directory / "app"

    def truth(self, step: int) -> bytes:
        """The application's database after that step."""
        return (self.app / f"{step}.db").read_bytes()


@dataclass(slots=True)
class Known:
    """What the world knew at the cut. `captured`, `stored` and `restored` lead to the application's steps."""

    wrote: int = 0
    done: set[str] = field(default_factory=set)
    generation: str = ""
    sealed: int = -1
    captured: dict[int, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    restored: dict[str, int] = field(default_factory=dict)

    @classmethod
    def at_cut(cls, operations: Sequence[Operation]) -> "Known":
        known = cls()
        whole, _, _ = "".join(each.text for each in operations if isinstance(each, Said)).rpartition("\n")
        for line in whole.splitlines():
            if line.startswith("{"):
                known._hear(json.loads(line))
            elif line.startswith("ack "):
                known._acknowledge(*line.split()[1:])
        return known

    def _hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "generation.started":
                self.generation, self.sealed = event["generation"], 0
            case "delta.sealed":
                self.sealed = event["seq"]
            case "deltas.stored":
                self.stored[event["last_seq"]] = self.wrote
            case "snapshot.stored":
                self.stored[event["seq"]] = self.wrote
            case _:
                pass

    def _acknowledge(self, word: str, *more: str) -> None:
        self.done.add(word)
        if word == "wrote":
            self.wrote = int(more[0])
        elif word in {"once", "failed"}:
            self.captured[self.sealed] = self.wrote
        elif word == "restored":
            self.restored[more[0]] = int(more[1])


@dataclass(slots=True)
class Judge:
    """After a cut; `lies` is the step of the application whose database lies there now."""

    life: Life
    operations: Sequence[Operation]
    known: Known
    lies: int
    rng: random.Random
    wrong: list[str] = field(default_factory=list)

    async def judge(self) -> list[str]:
        """What is wrong. Raises whatever a user would see of it."""
        self._look_at_restored()
        if "init" not in self.known.done:
            return self.wrong
        path = self.life.own / "syncd.toml"
        config = load(path)
        parse_kit((self.life.own / "kit.txt").read_text())
        if "recipient" in self.known.done and len(config.keys.recipients) != 2:
            self.wrong.append("the recipient that was added is gone")
        verify_key = read_signing_key(config.keys).verify_key
        if self.lies:
            generation, seq = await self._go_on(path, config)
            await self._restore(generation, seq, verify_key)
        return self.wrong

    async def _go_on(self, path: Path, config: Config) -> tuple[str, int]:
        with contextlib.redirect_stdout(io.StringIO()) as heard:
            configure("json", "info", stream=heard)
            await Daemon(config, path=path, clock=SystemClock()).once()
        chain = read_status(self.life.own / "syncd-state" / NAME / "state.db").chain
        assert chain is not None
        if self.known.generation and chain.generation != self.known.generation:
            self.wrong.append("the generation was given up")
        elif chain.seq < self.known.sealed:
            self.wrong.append(f"seq {self.known.sealed} was sealed, the state ends at {chain.seq}")
        return chain.generation, chain.seq

    async def _restore(self, generation: str, seq: int, verify_key: VerifyKey) -> None:
        """The newest position, some that were acknowledged, and every snapshot there is."""
        store = DirectoryStore(self.life.own / "archive" / NAME)
        contents = await read_contents(store, database=NAME, verify_key=verify_key)
        wanted = {(generation, seq): self.lies}
        if "pruning" not in self.known.done:
            acknowledged = self.known.captured | self.known.stored
            some = self.rng.sample(sorted(acknowledged), min(_RESTORES, len(acknowledged)))
            wanted |= {(self.known.generation, each): acknowledged[each] for each in some}
        for snapshot in contents.snapshots:
            step = self.known.captured.get(snapshot.seq, 0)
            wanted.setdefault((snapshot.generation, snapshot.seq), step)
        to = self.life.app / "restored.db"
        for (each, number), step in sorted(wanted.items()):
            plan, _ = await find_plan(
                store, database=NAME, verify_key=verify_key, generation=each, seq=number, at_ms=None
            )
            restore = Restore(
                store,
                identity=self.life.identity,
                verify_key=verify_key,
                database=NAME,
                progress=NoProgress(),
            )
            await restore.run(plan, to, force=True)
            if step and to.read_bytes() != self.life.truth(step):
                self.wrong.append(f"seq {number} came back other than it was")

    def _look_at_restored(self) -> None:
        own, known = self.life.own, self.known
        for name, step in known.restored.items():
            path = own / name
            if not path.exists() or path.read_bytes() != self.life.truth(step):
                self.wrong.append(f"{name} was restored and is not there")
        truths = {self.life.truth(step) for step in range(1, known.wrote + 1)}
        new, forced = own / "new.db", own / "forced.db"
        if new.exists() and new.read_bytes() not in truths:
            self.wrong.append("new.db is half-written")
        if not any(isinstance(each, Synced) and each.what is None for each in self.operations):
            return  # what is to be replaced was not there for sure
        if forced.read_bytes() not in {b"older", *truths}:
            self.wrong.append("forced.db is half-written")
        if forced.read_bytes() != b"older" and any(Path(f"{forced}{side}").exists() for side in _SIDES):
            self.wrong.append("forced.db has a log that is not its own")
