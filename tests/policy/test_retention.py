"""The rule, as hand-written tables: what is there, what stays, and why."""

from dataclasses import replace

import pytest

from syncd.format.marks import Purpose, Range
from syncd.format.names import MAX_SEQ
from syncd.policy.inventory import Bundle, Inventory, Snapshot
from syncd.policy.retention import IN_USE, Promise, Retention, promised, reaching
from tests.policy.archive import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    G,
    at,
    bundle,
    captured,
    generation,
    joined,
    mark,
    snapshot,
    steady,
)

NOTHING = Retention(pitr_ms=0)


def kept(there: Inventory, retention: Retention, now_ms: int = NOW) -> dict[int, str]:
    promise = promised(there, retention, now_ms)
    return {s.seq: ", ".join(why) for s, why in sorted(promise.snapshots.items(), key=lambda x: x[0].seq)}


def firsts(promise: Promise) -> list[tuple[str, int]]:
    return sorted((b.generation, b.first_seq) for b in promise.bundles)


YEARS = captured(
    "2024-02-29T12:00", "2024-12-30T12:00", "2025-01-01T12:00", "2025-12-31T23:59", "2026-01-01T00:00",
    "2026-10-31T00:00", "2026-11-15T23:00", "2026-11-16T01:00", "2026-11-22T23:00", "2026-11-23T09:00",
    "2026-11-23T09:50",
)  # fmt: skip


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (NOTHING, {110: "within pitr, the newest"}),
        (replace(NOTHING, minimum=3), {90: "one of the newest 3", 100: "one of the newest 3",
                                       110: "within pitr, one of the newest 3"}),
        (replace(NOTHING, hourly=2), {90: "hourly 2 of 2", 110: "within pitr, the newest, hourly 1 of 2"}),
        (replace(NOTHING, daily=3), {80: "daily 3 of 3", 90: "daily 2 of 3",
                                     110: "within pitr, the newest, daily 1 of 3"}),
        # 2026-11-16 is a Monday: 23:00 on Sunday the 15th belongs to the ISO week before.
        (replace(NOTHING, weekly=3), {70: "weekly 3 of 3", 90: "weekly 2 of 3",
                                      110: "within pitr, the newest, weekly 1 of 3"}),
        (replace(NOTHING, monthly=3), {50: "monthly 3 of 3", 60: "monthly 2 of 3",
                                       110: "within pitr, the newest, monthly 1 of 3"}),
        (replace(NOTHING, yearly=9), {20: "yearly 3 of 9", 40: "yearly 2 of 9",
                                      110: "within pitr, the newest, yearly 1 of 9"}),
        # 2024-12-30 and 2025-01-01 share an ISO week.
        (replace(NOTHING, weekly=99), {10: "weekly 7 of 99", 30: "weekly 6 of 99", 50: "weekly 5 of 99",
                                       60: "weekly 4 of 99", 70: "weekly 3 of 99", 90: "weekly 2 of 99",
                                       110: "within pitr, the newest, weekly 1 of 99"}),
        (Retention(pitr_ms=HOUR - 2 * MINUTE), {100: "within pitr", 110: "within pitr, the newest"}),
        (Retention(pitr_ms=10 * DAY * 365), {10 * n: "within pitr" for n in range(1, 11)}
                                            | {110: "within pitr, the newest"}),
    ],
)  # fmt: skip
def test_what_a_policy_keeps(retention: Retention, expected: dict[int, str]) -> None:
    assert kept(YEARS, retention) == expected


def test_three_snapshots_of_2099_remove_no_real_one() -> None:
    real = captured("2026-11-20T12:00", "2026-11-21T12:00", "2026-11-22T12:00")
    ahead = [snapshot(100 + n, at(f"2099-01-0{n}T00:00"), stored_ms=NOW - n * HOUR) for n in (1, 2, 3)]
    policy = Retention(pitr_ms=0, daily=3)
    without = kept(real, policy)
    assert set(without) == {10, 20, 30}
    there = replace(real, snapshots=real.snapshots + tuple(ahead))
    assert kept(there, policy) == without | dict.fromkeys((101, 102, 103), "dated in the future")


@pytest.mark.parametrize(
    "odd",
    [
        snapshot(5, NOW + 6 * MINUTE),
        snapshot(5, NOW - DAY, stored_ms=NOW + 6 * MINUTE),
        snapshot(5, NOW - DAY, of=generation(NOW + 6 * MINUTE)),
    ],
)
def test_each_clock_that_ran_ahead_is_noticed(odd: Snapshot) -> None:
    there = replace(YEARS, snapshots=(*YEARS.snapshots, odd))
    assert kept(there, replace(NOTHING, daily=2))[5] == "dated in the future"
    assert kept(there, replace(NOTHING, daily=2))[110] == "within pitr, the newest, daily 1 of 2"


def test_five_minutes_are_no_future() -> None:
    there = captured("2026-11-22T10:00", "2026-11-23T10:04")
    assert kept(there, NOTHING) == {10: "within pitr", 20: "within pitr, the newest"}


def test_a_period_counts_once_though_the_clock_jumped_back() -> None:
    there = captured("2026-11-19T10:00", "2026-11-21T10:00", "2026-11-20T10:00", "2026-11-21T11:00")
    expected = {10: "daily 3 of 3", 30: "daily 2 of 3", 40: "within pitr, the newest, daily 1 of 3"}
    assert kept(there, Retention(pitr_ms=0, daily=3)) == expected


def test_a_host_that_starts_in_1970_does_not_end_the_window() -> None:
    odd = snapshot(40, at("1970-01-01T00:01"), stored_ms=NOW - HOUR)
    there = captured("2026-11-10T10:00", "2026-11-18T10:00", "2026-11-21T10:00")
    there = replace(there, snapshots=(*there.snapshots, odd))
    assert set(kept(there, Retention(pitr_ms=3 * DAY))) == {20, 30, 40}


def test_the_window_begins_with_the_bundle_that_reaches_over_its_snapshot() -> None:
    there = Inventory(
        (snapshot(10, NOW - 20 * DAY), snapshot(55, NOW - 8 * DAY), snapshot(90, NOW - DAY)),
        (),
        tuple(bundle(n, NOW - 9 * DAY) for n in (1, 30, 50, 60, 91)),
    )
    promise = promised(there, Retention(pitr_ms=7 * DAY), NOW)
    assert [first for _, first in firsts(promise)] == [50, 60, 91]
    assert promise.ranges == (Range(G, 55, MAX_SEQ),)
    assert {s.seq for s in promise.snapshots} == {55, 90}


def test_the_window_reaches_over_generations() -> None:
    old, middle, new = (generation(NOW - days * DAY) for days in (90, 20, 3))
    there = joined(
        steady(30, of=old, until_ms=NOW - 60 * DAY),
        steady(10, of=middle, until_ms=NOW - 5 * DAY),
        steady(3, of=new),
    )
    promise = promised(there, Retention(pitr_ms=7 * DAY), NOW)
    assert {s.generation for s in promise.snapshots} == {middle, new}
    assert promise.ranges == (Range(middle, 280, MAX_SEQ), Range(new, 0, MAX_SEQ))
    assert next(first for of, first in firsts(promise) if of == middle) == 281
    assert len([1 for of, _ in firsts(promise) if of == new]) == 12


def test_a_generation_in_use_keeps_its_window_though_another_has_a_later_name() -> None:
    ahead = generation(NOW - 10 * DAY)  # named on a day when the clock was a month ahead
    there = joined(steady(3, of=ahead, until_ms=NOW - 9 * DAY), steady(30, of=generation(NOW - 40 * DAY)))
    promise = promised(there, Retention(pitr_ms=7 * DAY), NOW)
    days = sorted((NOW - s.captured_ms) // DAY for s in promise.snapshots if s.generation != ahead)
    assert days == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_idle_generation_in_use_keeps_its_newest_though_another_has_a_later_name() -> None:
    behind = generation(NOW - 90 * DAY)  # named by a host that had lost its time and its state
    there = joined(
        steady(3, of=behind, until_ms=NOW - 30 * DAY),
        steady(9, of=generation(NOW - 80 * DAY), until_ms=NOW - 40 * DAY),
    )
    promise = promised(there, Retention(pitr_ms=7 * DAY, max_share=1.0), NOW)
    mine = [s for s in promise.snapshots if s.generation == behind]
    assert [(s.seq, promise.snapshots[s]) for s in mine] == [(80, (IN_USE,))]
    assert {b.first_seq for b in promise.bundles if b.generation == behind} == {81, 91, 101, 111}


def test_without_a_snapshot_before_the_window_everything_is_within() -> None:
    there = joined(
        steady(3), Inventory(bundles=(bundle(0, NOW - DAY), bundle(7, NOW - DAY, of=generation(5))))
    )
    promise = promised(there, Retention(pitr_ms=7 * DAY), NOW)
    assert promise.bundles.keys() == set(there.bundles)
    assert promise.snapshots.keys() == set(there.snapshots)


@pytest.mark.parametrize(
    ("first", "last", "snapshots", "bundles"),
    [
        (45, 45, {40}, [41]),
        (40, 40, {40}, []),
        (40, 81, {40, 80}, [41, 51, 61, 71, 81]),
        (79, 80, {40, 80}, [41, 51, 61, 71]),
        (0, 0, {0}, []),
    ],
)
@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_mark_keeps_its_range(
    purpose: Purpose, first: int, last: int, snapshots: set[int], bundles: list[int]
) -> None:
    there = steady(30)
    rule = promised(there, NOTHING, NOW)
    promise = promised(replace(there, marks=(mark(Range(G, first, last), purpose=purpose),)), NOTHING, NOW)
    assert {s.seq for s in promise.snapshots.keys() - rule.snapshots.keys()} == snapshots
    assert sorted(b.first_seq for b in promise.bundles.keys() - rule.bundles.keys()) == bundles
    assert Range(G, first, last) in promise.ranges


def test_a_range_without_a_snapshot_keeps_all_that_might_lead_to_it() -> None:
    there = Inventory(bundles=tuple(bundle(n, NOW - 90 * DAY) for n in (1, 20, 40)))
    there = joined(there, steady(1, of=generation(NOW - DAY)), Inventory(marks=(mark(Range(G, 25, 30)),)))
    assert [f for of, f in firsts(promised(there, NOTHING, NOW)) if of == G] == [1, 20]


def test_a_mark_ends_when_it_says() -> None:
    there = replace(steady(30), marks=(mark(Range(G, 40, 40), until_ms=NOW),))
    assert 40 not in kept(there, NOTHING)
    assert 40 in kept(there, NOTHING, NOW - 1)


def test_an_empty_archive_promises_nothing() -> None:
    assert promised(Inventory(), Retention(pitr_ms=DAY, daily=3), NOW) == Promise({}, {}, ())


@pytest.mark.parametrize(
    ("after", "last", "expected"),
    [(0, 5, [1]), (4, 5, [1]), (9, 9, []), (9, 10, [10]), (8, 10, [1, 10]), (30, 99, [30]), (40, 99, [30]),
     (-1, 99, [1, 10, 30])],
)  # fmt: skip
def test_a_bundle_ends_where_the_next_begins(after: int, last: int, expected: list[int]) -> None:
    bundles: list[Bundle] = [bundle(n, NOW) for n in (1, 10, 30)]
    assert [b.first_seq for b in reaching(bundles, after, last)] == expected
    assert list(reaching([], after, last)) == []


@pytest.mark.parametrize(
    "change", [{"pitr_ms": -1}, {"daily": -1}, {"minimum": -1}, {"max_share": 0.0}, {"max_share": 1.1}]
)
def test_an_impossible_policy_cannot_be_made(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="negative"):
        replace(NOTHING, **change)  # type: ignore[arg-type]


def test_a_snapshot_with_a_flaw_counts_for_nothing_and_stays() -> None:
    whole = steady(10)
    *older, newest = whole.snapshots
    flawed = replace(newest, flaw="pack 00 is missing")
    inventory = replace(whole, snapshots=(*older, flawed))
    rule = Retention(pitr_ms=0, daily=2, minimum=1, max_share=1.0)
    kept = promised(inventory, rule, NOW).snapshots
    assert kept[flawed] == ("pack 00 is missing: it counts for nothing",)
    assert set(kept) == {*older[-2:], flawed}
    # A hold that begins at it needs what is before it.
    held = replace(inventory, marks=(mark(Range(G, newest.seq, newest.seq)),))
    bundles = promised(held, rule, NOW).bundles
    assert {b.first_seq for b in bundles} >= {
        b.first_seq for b in whole.bundles if b.first_seq > older[-1].seq
    }
