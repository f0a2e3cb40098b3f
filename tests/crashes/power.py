"""Power cuts: at random places of a recorded life, with what was not synced lost, torn, or in another order.

    python -m tests.crashes.power [--seed N] [--cases M]

- The life is that of tests.crashes.session; what is left of a cut is decided by tests.crashes.disk.
- Then syncd goes on with what is left, in the same place. It must go on by itself; what was acknowledged (in
  its log, or by a command that ended well) must be there, and be restored byte for byte.
- Exit 0 if that held in every case, else 1.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncd.clock import SystemClock
from syncd.config import load
from syncd.config.secrets import read_signing_key
from syncd.contents import find_plan, read_contents
from syncd.daemon import Daemon
from syncd.envelope.identity import unprotect
from syncd.envelope.keys import Identity
from syncd.envelope.kit import parse_kit
from syncd.log import configure
from syncd.restore import Restore
from syncd.state import read_status
from syncd.store.directory import DirectoryStore
from tests.bench.stats import print_table
from tests.crashes import syscalls
from tests.crashes.disk import Disk
from tests.crashes.session import NAME, PASSPHRASE
from tests.crashes.syscalls import Operation, Said, Synced
from tests.e2e.process import environment
from tests.support.fakes import IDENTITY
from tests.verbs.bench import NoProgress

_SECONDS = 120
_SIDES = ("-wal", "-shm", "-journal")


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


def record(directory: Path) -> Life:
    """Let it be lived."""
    directory = directory.resolve()
    for name in ("own", "app"):
        (directory / name).mkdir(mode=0o700)
    passphrase, trace = directory / "app" / "passphrase", directory / "trace"
    passphrase.write_text(PASSPHRASE + "\n")
    passphrase.chmod(0o600)
    recipient = IDENTITY.recipient.to_text()
    done = subprocess.run(
        [*syscalls.command(trace), sys.executable, "-m", "tests.crashes.session", str(directory), recipient],
        env=environment({"PYTHONPATH": os.pathsep.join(sys.path)}),
        capture_output=True,
        timeout=_SECONDS,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kit = parse_kit((directory / "own" / "kit.txt").read_text())
    operations = syscalls.read(trace.read_text(), directory / "own")
    return Life(directory, operations, unprotect(kit.protected_identity, PASSPHRASE))


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


def cuts(life: Life, rng: random.Random) -> int:
    """Half of them right after something was said: then most can be missing that should be there."""
    said = [number for number, each in enumerate(life.operations, 1) if isinstance(each, Said)]
    if rng.random() < 0.5:
        return rng.choice(said)
    return rng.randrange(len(life.operations) + 1)


def cut(life: Life, number: int, rng: random.Random) -> tuple[str, list[str]]:
    """One power cut before operation `number`: how it went, and what was wrong afterwards."""
    operations = life.operations[:number]
    known = Known.at_cut(operations)
    shutil.rmtree(life.own)
    life.own.mkdir(mode=0o700)
    how = Disk.at_cut(life.own, operations).leave(rng)
    if known.wrote:
        (life.app / "chat.db").write_bytes(life.truth(known.wrote))
    try:
        wrong = asyncio.run(_judge(life, operations, known, rng))
    except Exception as e:  # noqa: BLE001 - whatever a user would see of it
        wrong = [f"{type(e).__name__}: {e}"]
    return how, wrong


async def _judge(life: Life, operations: Sequence[Operation], known: Known, rng: random.Random) -> list[str]:
    wrong = _restored_files(life, operations, known)
    config_path = life.own / "syncd.toml"
    if "init" not in known.done:
        return wrong
    config = load(config_path)
    parse_kit((life.own / "kit.txt").read_text())
    verify_key = read_signing_key(config.keys).verify_key
    if "recipient" in known.done and len(config.keys.recipients) != 2:
        wrong.append("the recipient that was added is gone")
    if not known.wrote:
        return wrong
    with contextlib.redirect_stdout(io.StringIO()) as heard:
        configure("json", "info", stream=heard)
        await Daemon(config, path=config_path, clock=SystemClock()).once()
    chain = read_status(life.own / "syncd-state" / NAME / "state.db").chain
    assert chain is not None
    if known.generation and chain.generation != known.generation:
        wrong.append("the generation was given up")
    elif chain.seq < known.sealed:
        wrong.append(f"seq {known.sealed} was sealed, the state ends at {chain.seq}")
    store = DirectoryStore(life.own / "archive" / NAME)
    contents = await read_contents(store, database=NAME, verify_key=verify_key)
    wanted = {(chain.generation, chain.seq): known.wrote}
    if "pruning" not in known.done:
        acknowledged = known.captured | known.stored
        wanted |= {
            (known.generation, seq): acknowledged[seq]
            for seq in rng.sample(sorted(acknowledged), min(3, len(acknowledged)))
        }
    for snapshot in contents.snapshots:
        wanted.setdefault((snapshot.generation, snapshot.seq), known.captured.get(snapshot.seq, 0))
    for (generation, seq), step in sorted(wanted.items()):
        to = life.app / "restored.db"
        plan, _ = await find_plan(
            store, database=NAME, verify_key=verify_key, generation=generation, seq=seq, at_ms=None
        )
        restore = Restore(
            store, identity=life.identity, verify_key=verify_key, database=NAME, progress=NoProgress()
        )
        await restore.run(plan, to, force=True)
        if step and to.read_bytes() != life.truth(step):
            wrong.append(f"seq {seq} came back other than it was")
    return wrong


def _restored_files(life: Life, operations: Sequence[Operation], known: Known) -> list[str]:
    wrong: list[str] = []
    for name, step in known.restored.items():
        path = life.own / name
        if not path.exists() or path.read_bytes() != life.truth(step):
            wrong.append(f"{name} was restored and is not there")
    truths = {life.truth(step) for step in range(1, known.wrote + 1)}
    new, forced = life.own / "new.db", life.own / "forced.db"
    if new.exists() and new.read_bytes() not in truths:
        wrong.append("new.db is half-written")
    older = any(isinstance(each, Synced) and each.what is None for each in operations)
    if older and forced.read_bytes() not in {b"older", *truths}:
        wrong.append("forced.db is half-written")
    if older and forced.read_bytes() != b"older" and any(Path(f"{forced}{s}").exists() for s in _SIDES):
        wrong.append("forced.db has a log that is not its own")
    return wrong


def campaign(life: Life, *, seed: int, cases: int) -> tuple[Counter[str], list[str]]:
    """So many cuts: how they went, and what was wrong."""
    rng = random.Random(seed)
    went: Counter[str] = Counter()
    wrong: list[str] = []
    for case in range(cases):
        number = cuts(life, rng)
        how, found = cut(life, number, rng)
        went[how] += 1
        for line in found:
            wrong.append(f"case {case}, cut at {number} ({how}): {line}")
            print(wrong[-1], flush=True)
    return went, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crashes.power")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=500)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="power-") as directory:
        life = record(Path(directory))
        went, wrong = campaign(life, seed=args.seed, cases=args.cases)
    kinds = Counter(type(each).__name__.lower() for each in life.operations)
    rows: list[tuple[object, ...]] = [
        *((f"recorded: {kind}", count) for kind, count in sorted(kinds.items())),
        *((how, count) for how, count in sorted(went.items())),
        ("violations", len(wrong)),
        ("seconds", round(time.monotonic() - started)),
    ]
    print_table(f"power cuts, seed {args.seed}", ("", "count"), rows)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
