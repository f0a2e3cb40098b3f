"""What snapshots read, ship and keep, day by day.

    python -m tests.bench.snapshots [--megabytes 2000] [--days 60] [--store directory|memory|s3] [--sweep]

- A chat-like database; each day 1 % more messages, as many receipts and as many edits, mostly of recent
  messages; after each day a snapshot. At the end a restore, compared byte for byte.
- Bounds: the second snapshot ships at most 1.2 times the zstd size of the pages that changed (by level 3, in
  one stream or in frames as large as packs, whichever is smaller); no restore reads more than twice the
  pages of the database.
- `--sweep`: the same days for many variants at once, each with one thing changed. Nothing is judged there
  but the bytes restored. Snapshots of every hour: `--sweep small --megabytes 20 --days 1440 --percent 0.04`.
- Exit 1 where a bound is broken or a restored file is not identical.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from syncd.store import Store, open_store
from syncd.store.memory import MemoryStore
from tests.bench.snapshots_chat import writing
from tests.bench.snapshots_days import Keeping, OneByOne, Restored, Taken, Together, Variant, following
from tests.bench.stats import print_table
from tests.campaigns.rig import STORES, open_depot, scratch

SHIPPED_BOUND = 1.2
READ_BOUND = 2.0
_MIB = 1 << 20
_COLUMNS = (
    *("day", "pages", "looked", "changed", "moved", "read MB", "packs MB", "map kB", "requests", "zstd MB"),
    *("frames MB", "ratio", "packs", "runs", "again", "s", "CPU s", "peak MB"),
)


def sweep(kind: str) -> list[Variant]:
    """One thing changed at a time: of `packs`, or how many `small` ones may be left alone."""
    base = Variant(name="as it is")
    if kind == "small":
        return [replace(base, name=f"{count} small packs", small_packs=count) for count in (4, 8, 16, 32, 64)]
    variants = [base]
    variants += [
        replace(base, name=f"packs of {size} MiB", pack_bytes=size * _MIB)
        for size in (1, 2, 4, 8)
        if size * _MIB != base.pack_bytes
    ]
    variants += [
        replace(base, name=f"dead share {share}", dead_share=share)
        for share in (0.3, 0.5, 0.7)
        if share != base.dead_share
    ]
    variants += [
        replace(base, name=f"level {level}", level=level) for level in (1, 3, 6, 9) if level != base.level
    ]
    variants.append(replace(base, name="changed and moved together", planner=Together))
    variants.append(replace(base, name="each pack by itself, 0.5", planner=OneByOne, dead_share=0.5))
    return variants


@contextlib.contextmanager
def stores(kind: str, directory: Path, variants: Sequence[Variant]) -> Iterator[dict[Variant, Store]]:
    """A store for each variant."""
    if kind == "memory":
        yield {variant: MemoryStore() for variant in variants}
        return
    with open_depot(kind) as depot:
        opened: dict[Variant, Store] = {}
        for number, variant in enumerate(variants):
            place = directory / f"{directory.name}-{number}"
            place.mkdir()
            opened[variant] = open_store(depot.url(place), endpoint_url=depot.endpoint_url)
        yield opened


async def measure(
    directory: Path,
    *,
    megabytes: int,
    days: int,
    kind: str,
    seed: int,
    percent: float,
    variants: list[Variant],
) -> tuple[list[Keeping], list[Restored], list[int]]:
    """Every variant with its snapshots, its restore, and the bytes it has stored."""
    database = directory / "chat.db"
    with stores(kind, directory, variants) as opened:
        with writing(database, megabytes=megabytes, seed=seed) as writer:
            async with following(directory, database, writer, opened) as run:
                for day in range(days + 1):
                    await run.next(percent, partial(_is_shown, days=days))
                    if _is_shown(day, days=days) and len(variants) == 1:
                        print(" ".join(_row(run.keepings[0].taken[-1])), flush=True)
                stored = [await keeping.stored() for keeping in run.keepings]
        restored = await run.restore(directory)
        for store in opened.values():
            await store.close()
    return run.keepings, restored, stored


def _is_shown(day: int, *, days: int) -> bool:
    return day <= 1 or day % 10 == 0 or day == days


def _row(taken: Taken) -> list[str]:
    mb = [f"{n / 1e6:.2f}" for n in (taken.read_bytes, taken.pack_bytes)]
    zstd = [f"{n / 1e6:.2f}" for n in (taken.stream_bytes, taken.frames_bytes)]
    return [
        *map(str, (taken.day, taken.pages, taken.looked, taken.changed, taken.moved)),
        *mb,
        f"{taken.manifest_bytes / 1e3:.1f}",
        str(taken.requests),
        *zstd,
        f"{taken.ratio:.3f}",
        *map(str, (taken.packs, taken.runs)),
        f"{taken.read_again:.3f}",
        *(f"{value:.1f}" for value in (taken.seconds, taken.cpu_seconds, taken.peak_mb)),
    ]


def broken(taken: Sequence[Taken], restored: Restored) -> list[str]:
    """What does not hold."""
    found = []
    if len(taken) > 1 and taken[1].ratio > SHIPPED_BOUND:
        found.append(f"the second snapshot shipped {taken[1].ratio:.3f} times the zstd size of what changed")
    found += [
        f"after day {each.day} a restore reads {each.read_again:.3f} times the database"
        for each in taken
        if each.read_again > READ_BOUND
    ]
    if not restored.identical:
        found.append("the restored file is not identical")
    return found


def show(keeping: Keeping, restored: Restored, stored: int) -> None:
    """The days, and the end."""
    taken = keeping.taken
    rows = [_row(each) for each in taken if _is_shown(each.day, days=taken[-1].day)]
    print_table("snapshots", _COLUMNS, rows)
    print(
        f"shipped after the first {sum(each.shipped for each in taken[1:]) / 1e6:.1f} MB"
        f" ({sum(each.changed for each in taken[1:])} pages changed, {sum(each.moved for each in taken[1:])}"
        " moved),"
        f" the most on one day {max((each.shipped for each in taken[1:]), default=0) / 1e6:.1f} MB;"
        f" stored {stored / 1e6:.1f} MB, nothing pruned"
    )
    print(
        f"most dead: a restore reads {max(each.read_again for each in taken):.3f} times the pages"
        f" (bound {READ_BOUND}); at the end {restored.get_bytes / 1e6:.1f} MB for a database of"
        f" {restored.database_bytes / 1e6:.1f} MB, {restored.requests} requests, {restored.seconds:.1f} s,"
        f" {'identical' if restored.identical else 'NOT IDENTICAL'}"
    )


def show_sweep(keepings: Sequence[Keeping], restored: Sequence[Restored], stored: Sequence[int]) -> None:
    """A row for each variant, in two tables."""
    shipped: list[list[object]] = []
    kept: list[list[object]] = []
    for keeping, back, bytes_stored in zip(keepings, restored, stored, strict=True):
        name = keeping.variant.name
        first, *taken = keeping.taken
        most = max(each.shipped for each in taken)
        maps = sum(each.manifest_bytes for each in taken)
        bytes_shipped = [sum(each.shipped for each in taken), first.shipped, most, maps, bytes_stored]
        counts = [sum(each.changed for each in taken), sum(each.moved for each in taken)]
        counts.append(sum(each.requests for each in taken))
        shipped.append(
            [name, *(n / 1e6 for n in bytes_shipped), *counts, sum(each.cpu_seconds for each in taken)]
        )
        kept.append(
            [
                *(name, taken[-1].packs, max(each.packs for each in taken), taken[-1].runs),
                *(f"{each:.3f}" for each in (max(each.read_again for each in taken), taken[-1].read_again)),
                *(back.get_bytes / 1e6, back.requests, back.seconds, back.cpu_seconds, back.identical),
            ]
        )
    ships = ("shipped", "MB after the first", "first MB", "most MB at once", "manifests MB", "stored MB")
    print_table("what is shipped", (*ships, "changed", "moved", "requests", "CPU s"), shipped)
    keeps = ("kept", "packs", "most", "runs", "pages read / pages, most", "at the end", "fetched MB")
    print_table("what is kept", (*keeps, "requests", "s", "CPU s", "identical"), kept)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.snapshots")
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--percent", type=float, default=1.0, help="more messages each day")
    parser.add_argument("--store", choices=(*STORES, "memory"), default="directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", nargs="?", choices=("packs", "small"), const="packs")
    args = parser.parse_args()
    variants = sweep(args.sweep) if args.sweep else [Variant()]
    with scratch("snapshots") as directory:
        keepings, restored, stored = asyncio.run(
            measure(
                directory,
                megabytes=args.megabytes,
                days=args.days,
                kind=args.store,
                seed=args.seed,
                percent=args.percent,
                variants=variants,
            )
        )
    if args.sweep:
        show_sweep(keepings, restored, stored)
        return 0 if all(each.identical for each in restored) else 1
    show(keepings[0], restored[0], stored[0])
    problems = broken(keepings[0].taken, restored[0])
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
