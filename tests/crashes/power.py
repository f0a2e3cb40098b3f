"""Power cuts: at random places of a recorded life, with what was not synced lost, torn, or in another order.

    python -m tests.crashes.power [--seed N] [--cases M]

- The life is that of tests.crashes.session; what is left of a cut is decided by tests.crashes.disk.
- The application's database is as it was last, or has lost its last transaction, too.
- Then syncd goes on with what is left, in the same place. It must go on by itself; what was acknowledged (in
  its log, or by a command that ended well) must be there, and be restored byte for byte.
- Exit 0 if that held in every case, else 1.
"""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from syncd.envelope.identity import unprotect
from syncd.envelope.kit import parse_kit
from tests.bench.stats import print_table
from tests.crashes import syscalls
from tests.crashes.disk import Disk
from tests.crashes.judge import Judge, Known, Life
from tests.crashes.session import PASSPHRASE
from tests.crashes.syscalls import Said
from tests.e2e.process import environment
from tests.support.fakes import IDENTITY

_SECONDS: Final = 120
_FORGETS: Final = 0.25


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
    lies = known.wrote - (known.wrote > 1 and rng.random() < _FORGETS)
    if lies:
        (life.app / "chat.db").write_bytes(life.truth(lies))
    try:
        wrong = asyncio.run(Judge(life, operations, known, lies, rng).judge())
    except Exception as e:  # noqa: BLE001 - whatever a user would see of it
        wrong = [f"{type(e).__name__}: {e}"]
    return how, wrong


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
