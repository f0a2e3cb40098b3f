"""Random histories of the calendar: nothing promised is ever missing, and garbage goes.

    python -m tests.campaigns.calendar [--histories 200] [--seed N] [--steps 40] [--only S.N] [--keep DIR]

A small database changes; the daemon captures, ships, takes snapshots, dies at a call of a store, loses its
state; prunes of random rules run at random moments, beside snapshots, restores and each other, and die;
holds come and go; clocks jump. Two targets now and then.

- After every prune: nothing went that `calendar_oracle` says must stay, or that no tombstone older than the
  grace named; each position that was to stay can be reached; no manifest misses a pack.
- Between prunes nothing is lost at all. With clocks apart nothing is deleted.
- At the end, after runs a grace apart, nothing is left that is not needed, epochs included; a full
  verification finds nothing; every position restores to the bytes that the database had, by seq and by time.
- A history follows its seed, but for the random names of packs and generations.
- Exit 1 where any broke a rule, and its name for --only.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.campaigns.calendar_checks import Tally, Wrong
from tests.campaigns.calendar_life import Life
from tests.campaigns.calendar_loop import run

STEPS = 40


def history(name: str, steps: int, directory: Path, tally: Tally, *, trace: bool = False) -> str:
    """Live it; what went wrong, or nothing."""

    async def live() -> None:
        await Life(directory, name, tally, trace=trace).live(steps)

    try:
        run(live())
    except Wrong as e:
        return str(e)
    except Exception as e:  # noqa: BLE001 - whatever it is, the seed must be reported
        return "".join(traceback.format_exception(e))
    return ""


def campaign(names: list[str], steps: int, keep: Path | None, *, trace: bool = False) -> Tally:
    """All histories, one after the other."""
    tally = Tally()
    for name in names:
        directory = Path(tempfile.mkdtemp(prefix="syncd-calendar-"))
        problem = history(name, steps, directory, tally, trace=trace)
        tally.histories += 1
        if problem:
            tally.failed.append(name)
            print(f"history {name}: {problem}", flush=True)
            if keep is not None:
                shutil.copytree(directory, keep / name, dirs_exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.calendar")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", help="one history, by the name that a failure printed, step by step")
    parser.add_argument("--keep", type=Path, help="where the files of failed histories are left")
    args = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    names = [args.only] if args.only else [f"{seed}.{number}" for number in range(args.histories)]
    started = time.monotonic()
    tally = campaign(names, args.steps, args.keep, trace=bool(args.only))
    print(f"steps: {dict(sorted(tally.steps.items()))}")
    print(f"counts: {dict(sorted(tally.counts.items()))}")
    print(
        f"seed {seed}: {tally.histories} histories, {len(tally.failed)} failed {tally.failed},"
        f" {time.monotonic() - started:.0f} s"
    )
    return bool(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
