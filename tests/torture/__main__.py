"""Fault after fault, with a real application, daemon and store; what is promised must hold.

    python -m tests.torture [--minutes 3] [--seed N] [--profile mixed|NAME|all] [--store directory|s3|both]

- The minutes are shared by the profiles and stores that were chosen. Each has one fault at least.
- Exit 0 if nothing was violated, else 1.
"""

import argparse
import contextlib
import random
import signal
import sys
import time

from tests.bench.stats import print_table
from tests.campaigns.rig import STORES, Depot, open_depot, scratch
from tests.torture.profiles import PROFILES, Profile
from tests.torture.proxy import proxied
from tests.torture.records import Record
from tests.torture.run import Run


def one(profile: Profile, store: str, depot: Depot, *, seed: int, end: float, record: Record) -> None:
    """One run."""
    before = len(record.wrong)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch(f"torture-{profile.name}-{store}"))
        proxy = None
        if depot.endpoint_url:
            port = int(depot.endpoint_url.rpartition(":")[2])
            proxy = stack.enter_context(proxied(port, seed=seed))
        print(f"{profile.name} on {store}: {directory}", flush=True)
        Run(directory, depot, proxy, profile, seed=seed, record=record).run(end)
        record.seconds += time.monotonic() - started
        print(f"{profile.name} on {store}: {len(record.wrong) - before} violations", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--profile", choices=(*PROFILES, "all"), default="mixed")
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    args = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    print(f"seed {seed}", flush=True)
    stores = STORES if args.store == "both" else (args.store,)
    profiles = list(PROFILES.values()) if args.profile == "all" else [PROFILES[args.profile]]
    pairs = [(store, profile) for store in stores for profile in profiles if store in profile.stores]
    record = Record()
    end = time.monotonic() + args.minutes * 60
    for store in stores:
        with open_depot(store) as depot:
            for number, pair in enumerate(pairs):
                if pair[0] == store:
                    share = (end - time.monotonic()) / (len(pairs) - number)
                    one(pair[1], store, depot, seed=seed, end=time.monotonic() + share, record=record)
    show(record, seed)
    return 1 if record.wrong else 0


def show(record: Record, seed: int) -> None:
    """Everything that was done and found."""
    faults = [
        (
            name,
            count,
            f"{record.told[name]:.1f}" if name in record.told else "",
            record.resumed.get(name, 0.0),
        )
        for name, count in sorted(record.faults.items())
    ]
    print_table("faults", ("", "times", "told after s, at worst", "resumed after s, at worst"), faults)
    rows: list[tuple[object, ...]] = [
        ("minutes", record.seconds / 60),
        ("faults", record.faults.total()),
        ("kinds left out on this machine", ", ".join(sorted(record.skipped)) or "none"),
        ("commits of the application", record.commits),
        ("positions shown as stored", record.positions),
        ("restores, each checked", record.restores),
        ("restores in a pause, byte for byte", record.identical),
        *((f"most {what}", value) for what, value in sorted(record.worst.items())),
        *((f"log: {event}", count) for event, count in sorted(record.events.items())),
        ("violations", len(record.wrong)),
    ]
    print_table(f"torture, seed {seed}", ("", "total"), rows)
    for sentence in record.wrong:
        print(f"VIOLATION: {sentence}")


if __name__ == "__main__":
    raise SystemExit(main())
