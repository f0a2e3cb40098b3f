"""Every point of every scenario, ended in every way there is.

    python -m tests.crashes [--scenario NAME|all] [--every N] [--seed N] [--points]

- With `--every N`, each N-th case only, from one that the seed chooses.
- A violation is printed with its point and its end as soon as it is found. Exit 0 if there was none, else 1.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.bench.stats import print_table
from tests.crashes.points import End
from tests.crashes.scenario import Case, Scenario, Stage
from tests.crashes.scenarios import SCENARIOS


async def enumerate_cases(
    scenario: Scenario, directory: Path, *, every: int, seed: int
) -> tuple[Case, Counter[End], list[str]]:
    """The run without an end, cases by their end, and what was wrong."""
    stage = Stage(scenario, directory)
    await stage.prepare()
    whole = await stage.play()
    wrong = [f"{scenario.name}, undisturbed: {each}" for each in whole.wrong]
    print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
    cases: Counter[End] = Counter()
    for at, end in whole.cases()[random.Random(seed).randrange(every) :: every]:
        case = await stage.play(at, end)
        cases[end] += case.burnt is not None
        found = [f"{scenario.name}, {end.value} at {at} ({case.burnt}): {each}" for each in case.wrong]
        for line in found:
            print(line, flush=True)
        wrong += found
    return whole, cases, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crashes")
    parser.add_argument("--scenario", default="all", choices=("all", *(each.name for each in SCENARIOS)))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--points", action="store_true", help="list the points of the undisturbed run")
    args = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    total = 0
    for scenario in SCENARIOS:
        if args.scenario not in {"all", scenario.name}:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="crashes-") as directory:
            whole, cases, wrong = asyncio.run(
                enumerate_cases(scenario, Path(directory), every=args.every, seed=args.seed)
            )
        if args.points:
            print(*(f"{at} {point}" for at, point in enumerate(whole.points, 1)), sep="\n")
        kinds = Counter(point.kind.value for point in whole.points)
        rows.append(
            (
                scenario.name,
                *(kinds[kind] for kind in ("store", "file", "state")),
                *(cases[end] for end in End),
                len(wrong),
                round(time.monotonic() - started),
            )
        )
        total += len(wrong)
        print(rows[-1], flush=True)
    headers = ("scenario", "store calls", "file calls", "statements", *(end.value for end in End))
    print_table("ended at every point", (*headers, "violations", "seconds"), rows)
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
