"""SIGKILL at random moments: nothing that was shown as stored is ever lost, nothing is torn.

    python -m tests.campaigns.kills [--store directory|s3|both] [--kills 200] [--seed N] [--chapter 25]

- The kills of a store are spread over chapters, each with a new database, archive and state, so that first
  copies and first snapshots are killed too; see tests.campaigns.chapter for the rules.
- The moments and the application follow the seed; the machine's own timing does not.
- Exit 0 if no rule was broken, else 1.
"""

import argparse
import random
import time

from tests.bench.stats import print_table
from tests.campaigns.chapter import Chapter, Tally
from tests.campaigns.rig import STORES, open_depot, scratch


def campaign(
    store: str, *, kills: int, seed: int, per_chapter: int, messages: int = 6000, verify_every: int = 10
) -> Tally:
    """So many kills on one store."""
    tally = Tally()
    rng = random.Random(f"{seed} {store}")
    with open_depot(store) as depot:
        left = kills
        while left > 0:
            with scratch("kills") as directory:
                chapter = Chapter(directory, depot, rng, tally, messages=messages)
                chapter.run(min(left, per_chapter), verify_every=verify_every)
            left -= per_chapter
            so_far = (
                f"{tally.kills.total()} kills, {tally.positions} positions, {len(tally.wrong)} violations"
            )
            print(f"{store}: {so_far}", flush=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kills")
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--kills", type=int, default=200, help="of each store")
    parser.add_argument("--chapter", type=int, default=25, help="kills of one archive")
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    stores = STORES if args.store == "both" else (args.store,)
    tallies: dict[str, Tally] = {}
    seconds: dict[str, float] = {}
    for store in stores:
        started = time.monotonic()
        tallies[store] = campaign(store, kills=args.kills, seed=seed, per_chapter=args.chapter)
        seconds[store] = time.monotonic() - started
    moments = sorted(set().union(*(tally.kills for tally in tallies.values())))
    events = sorted(set().union(*(tally.events for tally in tallies.values())))
    rows: list[tuple[object, ...]] = [
        ("kills", *(tally.kills.total() for tally in tallies.values())),
        *((f"  {moment}", *(tally.kills[moment] for tally in tallies.values())) for moment in moments),
        ("archives", *(tally.chapters for tally in tallies.values())),
        ("commits of the application", *(tally.commits for tally in tallies.values())),
        ("positions shown as stored", *(tally.positions for tally in tallies.values())),
        ("restores, each checked", *(tally.restores for tally in tallies.values())),
        ("final restores identical", *(tally.identical for tally in tallies.values())),
        *((event, *(tally.events[event] for tally in tallies.values())) for event in events),
        ("seconds", *seconds.values()),
        ("violations", *(len(tally.wrong) for tally in tallies.values())),
    ]
    print_table(f"SIGKILL at random moments, seed {seed}", ("", *tallies), rows)
    return 1 if any(tally.wrong for tally in tallies.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
