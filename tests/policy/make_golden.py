"""Writes the golden files of retention: `python -m tests.policy.make_golden`.

One history that has about everything, judged by many policies; each file tells every snapshot that stays,
with its reasons, and counts the rest. A change of the rule shows as a difference that someone has to read.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from syncd.format.marks import Purpose, Range
from syncd.policy.inventory import Inventory, Kind, Unreadable
from syncd.policy.retention import Retention
from syncd.policy.verdicts import Verdict, decide
from tests.policy.archive import DAY, GRACE, HOUR, NOW, generation, joined, mark, pack, snapshot, steady

GOLDEN: Final = Path(__file__).parent / "golden"

FIRST, SECOND, THIRD = generation(NOW - 800 * DAY), generation(NOW - 120 * DAY), generation(NOW - 3 * DAY)
BARE = Retention(pitr_ms=0)
DEFAULT = Retention(pitr_ms=7 * DAY, daily=30, weekly=8, monthly=12, minimum=2)

POLICIES: Final = {
    "default": DEFAULT,
    "default-all-at-once": replace(DEFAULT, max_share=1),
    "nothing": replace(BARE, max_share=1),
    "pitr-1h": replace(BARE, pitr_ms=HOUR, max_share=1),
    "pitr-30d": replace(BARE, pitr_ms=30 * DAY, max_share=1),
    "pitr-10y": replace(BARE, pitr_ms=3650 * DAY, max_share=1),
    "hourly-24": replace(BARE, hourly=24, max_share=1),
    "daily-3": replace(BARE, daily=3, max_share=1),
    "daily-60": replace(BARE, daily=60, max_share=1),
    "weekly-8": replace(BARE, weekly=8, max_share=1),
    "monthly-24": replace(BARE, monthly=24, max_share=1),
    "yearly-9": replace(BARE, yearly=9, max_share=1),
    "minimum-5": replace(BARE, minimum=5, max_share=1),
    "grandfather": Retention(DAY, hourly=24, daily=7, weekly=4, monthly=12, yearly=10, max_share=1),
    "share-1-percent": replace(BARE, max_share=0.01),
}


def history() -> Inventory:
    """Three generations with gaps, clocks that jump both ways, a hold, leases, damage, leftovers."""
    first = steady(500, of=FIRST, until_ms=NOW - 300 * DAY, per_day=1)
    gap = NOW - 700 * DAY, NOW - 640 * DAY
    first = replace(first, snapshots=tuple(s for s in first.snapshots if not gap[0] < s.captured_ms < gap[1]))
    second = steady(100, of=SECOND, until_ms=NOW - 20 * DAY)
    back = snapshot(4100, NOW - 30 * DAY, of=SECOND, packs=(100,), stored_ms=NOW - 19 * DAY)
    ahead = [
        snapshot(4200 + n, NOW + 26_000 * DAY + n, of=SECOND, packs=(1,), stored_ms=NOW - 19 * DAY)
        for n in range(3)
    ]
    hours = [snapshot(1000 + n, NOW - 3 * DAY + 7 * n * HOUR, of=THIRD) for n in range(10)]
    return joined(
        first,
        second,
        steady(3, of=THIRD),
        Inventory(
            snapshots=(back, *ahead, *hours),
            unreadable=(Unreadable(FIRST, 9999, 5, NOW - 310 * DAY),),
            packs=(pack(900, NOW - HOUR, of=THIRD), pack(901, NOW - 2 * DAY, of=THIRD)),
            marks=(
                mark(Range(FIRST, 1005, 1025)),
                mark(Range(SECOND, 40, 40), purpose=Purpose.RESTORE, reason=""),
                mark(Range(SECOND, 400, 999), until_ms=NOW),
            ),
        ),
    )


def told(retention: Retention) -> str:
    """What one policy does with the history."""
    verdicts = decide(history(), retention, now_ms=NOW, grace_ms=GRACE)
    order = {FIRST: "first", SECOND: "second", THIRD: "third", "": "marks"}
    lines = [repr(retention), ""]
    kept = (v for v in verdicts if v.kind is Kind.SNAPSHOT and v.keep)
    for (of, reason), group in groupby(kept, key=lambda v: (v.generation, v.reason)):
        same = list(group)
        ends = same[:1] if len(same) == 1 else [same[0], same[-1]]
        lines.append(f"{order[of]:6} {' .. '.join(map(_when, ends))}  {reason}")
    counts = Counter(
        (order[v.generation], v.kind, "keep" if v.keep else "remove", v.reason)
        for v in verdicts
        if not (v.kind is Kind.SNAPSHOT and v.keep)
    )
    lines.append("")
    lines += [f"{of:6} {kind:8} {what:6} {n:5}  {why}" for (of, kind, what, why), n in counts.items()]
    return "\n".join(lines) + "\n"


def _when(v: Verdict) -> str:
    return f"{v.number} of {datetime.fromtimestamp(v.dated_ms / 1000, UTC):%Y-%m-%dT%H:%M}"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, policy in POLICIES.items():
        (GOLDEN / f"{name}.txt").write_text(told(policy))
