"""The rule: which restore points stay. Pure; `now` is an argument.

- Any moment within `pitr` before now can be restored: the newest snapshot before that window, everything
  after it, and the bundle that reaches over it. One that may do so by its name stays until it was read.
- Before the window snapshots stay, one for each of the latest hours, days, weeks, months and years (UTC)
  that have one; and always the newest few.
- A moment is before the window where the host's clock and the store's say so: a host that starts without
  the time of day would else date a snapshot of today decades back, and end the window there.
- Order is (generation, seq). What is dated in the future neither counts nor goes: with restic 0.14, three
  snapshots dated 2099 made `--keep-daily 3` remove every real one.
- A host whose clock ran ahead when a generation began may name the next one as if it were older. So an
  older generation that the store received something of within the window has a window of its own; and the
  newest snapshot of the one that the store received something of last stays, with everything after it.
- Holds and leases keep what their ranges need, whatever the rule says; leases go by names alone, as who
  reads under one does.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from syncd.format.marks import Mark, Purpose, Range
from syncd.format.names import MAX_SEQ
from syncd.model import format_time
from syncd.policy.inventory import Bundle, Inventory, Snapshot, is_future
from syncd.policy.stretches import doubtful

WITHIN: Final = "within pitr"
FUTURE: Final = "dated in the future"
IN_USE: Final = "of the generation that was stored last"

_LEASES: Final = {
    Purpose.RESTORE: "a restore is reading it",
    Purpose.SNAPSHOT: "a snapshot is being taken from here",
    Purpose.PRUNE: "a prune is running",
}
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_MONDAY: Final = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how many: milliseconds, numbers of periods, the largest share removed per run."""

    pitr_ms: int
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    minimum: int = 1
    max_share: float = 0.25

    def __post_init__(self) -> None:
        counts = (self.hourly, self.daily, self.weekly, self.monthly, self.yearly, self.minimum)
        if self.pitr_ms < 0 or min(counts) < 0 or not 0 < self.max_share <= 1:
            raise ValueError("a time or number is negative, or the share is not above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Promise:
    """What can be restored: `snapshots` with the reasons, bundles by name, unbroken `ranges`."""

    snapshots: dict[Snapshot, tuple[str, ...]]
    bundles: dict[Bundle, str]
    ranges: tuple[Range, ...]


def promised(inventory: Inventory, retention: Retention, now_ms: int) -> Promise:
    """What the rule, the active marks, and the doubt about future dates keep.

    The state at each seq of a range can be restored as far as it could before: the newest snapshot at or
    before it and every bundle from there on stay.
    """
    promise = _Keeping(inventory, now_ms)
    promise.keep_future()
    promise.keep_flawed()
    promise.keep_window(retention.pitr_ms)
    promise.keep_newest(max(1, retention.minimum))
    promise.keep_generation_in_use()
    for name, period in _PERIODS.items():
        promise.keep_periods(name, getattr(retention, name), period)
    for mark in sorted(inventory.marks, key=lambda m: m.mark_id):
        if now_ms < mark.until_ms:
            for each in mark.ranges:
                promise.keep_range(each, mark_text(mark), by_name=mark.purpose is not Purpose.HOLD)
    return promise.result()


def mark_text(mark: Mark) -> str:
    """What a mark is, in a few words."""
    if mark.purpose is Purpose.HOLD:
        return f"hold {mark.mark_id} until {format_time(mark.until_ms)}: {mark.reason}"
    return _LEASES[mark.purpose]


class _Keeping:
    """Collects what stays and why."""

    def __init__(self, inventory: Inventory, now_ms: int) -> None:
        self._now_ms = now_ms
        self._snapshots = sorted(inventory.snapshots, key=lambda s: (s.generation, s.seq))
        self._whole = [s for s in self._snapshots if not s.flaw]
        self._countable = [s for s in self._whole if not self._future(s)]
        self._bundles: dict[str, list[Bundle]] = {}
        for bundle in sorted(inventory.bundles, key=lambda b: (b.generation, b.first_seq)):
            self._bundles.setdefault(bundle.generation, []).append(bundle)
        self._why: dict[Snapshot, dict[str, None]] = {}
        self._why_bundle: dict[Bundle, str] = {}
        self._ranges: list[Range] = []

    def result(self) -> Promise:
        whys = {snapshot: tuple(why) for snapshot, why in self._why.items()}
        return Promise(whys, self._why_bundle, tuple(self._ranges))

    def keep_future(self) -> None:
        for snapshot in self._snapshots:
            if self._future(snapshot):
                self._keep([snapshot], FUTURE)
        for bundles in self._bundles.values():
            for bundle in bundles:
                if is_future(bundle.generation, self._now_ms, bundle.stored_ms):
                    self._why_bundle[bundle] = FUTURE

    def keep_flawed(self) -> None:
        for snapshot in self._snapshots:
            if snapshot.flaw:
                self._keep([snapshot], f"{snapshot.flaw}: it counts for nothing")

    def keep_window(self, pitr_ms: int) -> None:
        since_ms = self._now_ms - pitr_ms
        before = [s for s in self._countable if max(s.captured_ms, s.stored_ms) <= since_ms]
        base = before[-1].generation if before else ""
        generations = {s.generation for s in self._snapshots} | self._bundles.keys()
        for generation in sorted(generations):
            first = max((s.seq for s in before if s.generation == generation), default=-1)
            mine = [s for s in self._countable if s.generation == generation and s.seq >= first]
            bundles = reaching(self._bundles.get(generation, []), first, MAX_SEQ)
            stored = [s.stored_ms for s in mine] + [b.stored_ms for b in bundles]
            if generation < base and max(stored, default=0) <= since_ms:
                continue
            self._keep(mine, WITHIN)
            self._keep_bundles(generation, first, MAX_SEQ, WITHIN)
            self._ranges.append(Range(generation, max(0, first), MAX_SEQ))

    def keep_newest(self, count: int) -> None:
        self._keep(self._countable[-count:], "the newest" if count == 1 else f"one of the newest {count}")

    def keep_generation_in_use(self) -> None:
        """Where its name says that it is an older one, no window may hold it: an idle one's passes."""
        newest = {s.generation: s.seq for s in self._countable}
        stored = dict.fromkeys(newest, 0)
        received: list[Snapshot | Bundle] = [
            *self._countable,
            *(b for g in newest for b in self._bundles.get(g, [])),
        ]
        for each in received:
            if not is_future(each.generation, self._now_ms, each.stored_ms):
                stored[each.generation] = max(stored[each.generation], each.stored_ms)
        last = max(stored, key=lambda generation: (stored[generation], generation), default="")
        if last != max(newest, default=""):
            self.keep_range(Range(last, newest[last], MAX_SEQ), IN_USE)

    def keep_periods(self, name: str, count: int, period: Callable[[int], object]) -> None:
        seen: set[object] = set()
        for snapshot in reversed(self._countable):
            if len(seen) == count:
                break
            which = period(snapshot.captured_ms)
            if which not in seen:
                seen.add(which)
                self._keep([snapshot], f"{name} {len(seen)} of {count}")

    def keep_range(self, wanted: Range, why: str, *, by_name: bool = False) -> None:
        """The newest snapshot at or before the range, those within, and the bundles from there on."""
        mine = [s for s in self._snapshots if s.generation == wanted.generation]
        first = max((s.seq for s in mine if s.seq <= wanted.first_seq and not s.flaw), default=-1)
        self._keep([s for s in mine if first <= s.seq <= wanted.last_seq], why)
        self._keep_bundles(wanted.generation, first, wanted.last_seq, why, by_name=by_name)
        self._ranges.append(wanted)

    def _keep(self, snapshots: Iterable[Snapshot], why: str) -> None:
        for snapshot in snapshots:
            self._why.setdefault(snapshot, {})[why] = None

    def _keep_bundles(
        self, generation: str, after: int, last: int, why: str, *, by_name: bool = False
    ) -> None:
        for bundle in reaching(self._bundles.get(generation, []), after, last, by_name=by_name):
            self._why_bundle.setdefault(bundle, why)

    def _future(self, snapshot: Snapshot) -> bool:
        return is_future(snapshot.generation, self._now_ms, snapshot.captured_ms, snapshot.stored_ms)


def unsure(inventory: Inventory, retention: Retention, now_ms: int) -> list[Bundle]:
    """The bundles that have to be read before anything is decided: where they end matters, no name tells it.

    What the rule keeps wherever it ends is not among them.
    """
    found = doubtful(inventory)
    if not found:
        return []
    short = {bundle: replace(bundle, last_seq=bundle.first_seq) for bundle in found}
    least = replace(inventory, bundles=tuple(short.get(b, b) for b in inventory.bundles))
    kept = promised(least, retention, now_ms).bundles
    return [bundle for bundle in found if short[bundle] not in kept]


def reaching(bundles: Sequence[Bundle], after: int, last: int, *, by_name: bool = False) -> Sequence[Bundle]:
    """Those of one generation's bundles, in order, that can hold a delta of after + 1 to `last`.

    The last one that begins at or before `after` may reach over it: unless it was read, or it is
    asked `by_name`, the next one tells.
    """
    firsts = [bundle.first_seq for bundle in bundles]
    start = max(0, bisect_right(firsts, after + 1) - 1)
    if bundles and not by_name:
        end = bundles[start].last_seq
        start += end is not None and end <= after
    return bundles[start : bisect_right(firsts, last)]


def _month(ms: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.year, moment.month


_PERIODS: Final[dict[str, Callable[[int], object]]] = {
    "hourly": lambda ms: ms // _HOUR_MS,
    "daily": lambda ms: ms // _DAY_MS,
    "weekly": lambda ms: (ms // _DAY_MS + _MONDAY) // 7,
    "monthly": _month,
    "yearly": lambda ms: datetime.fromtimestamp(ms / 1000, UTC).year,
}
