"""What the comparisons compute from what they measured; the runs themselves are `--slice`, in CI."""

from pathlib import Path
from typing import cast

import pytest

from tests.bench.growth import Point, heads, sizes_up_to, slope, table
from tests.bench.versus_litestream import wrong
from tests.bench.versus_report import Measure, Of, cells, markdown, plain, rows_of
from tests.bench.versus_scenarios import SCENARIOS
from tests.bench.versus_steady import lags, read_commits
from tests.bench.versus_syncd import Syncd
from tests.bench.versus_tools import Commit, Place
from tests.campaigns.rig import Daemon, Rig


def commits(*times: float) -> list[Commit]:
    return [Commit(at, 1, number) for number, at in enumerate(times)]


def test_each_commit_lags_until_the_first_answer_that_covers_it() -> None:
    stored = [(2.0, 0), (3.0, 2), (4.0, 2), (5.0, 3)]
    assert lags(stored, commits(1.0, 1.5, 2.5)) == [2.0, 1.5, 2.5]


def test_a_commit_that_was_not_stored_has_no_lag() -> None:
    with pytest.raises(ValueError, match="commit 1 of 2"):
        lags([(2.0, 1)], commits(1.0, 1.5))


def test_the_writers_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("1 1500000000 7 3\n2 2500000000 8 1\n")
    assert read_commits(tmp_path / "log") == [Commit(1.5, 7, 3), Commit(2.5, 8, 1)]


RUNS = {
    "syncd": [{"cpu": 3.0, "right": True}, {"cpu": 1.0, "right": True}, {"cpu": 2.0, "right": True}],
    "Litestream": [{"cpu": 4.0, "right": True}] * 3,
    "alone": [{"cpu": 0.5}],
}


@pytest.mark.parametrize(
    ("measure", "ratio", "holds"),
    [
        (Measure("cpu", "CPU"), 0.5, None),
        (Measure("cpu", "CPU", 0.5), 0.5, True),
        (Measure("cpu", "CPU", 0.4), 0.5, False),
        (Measure("cpu", "CPU", 0.4, Of.AT_LEAST), 0.5, True),
        (Measure("cpu", "CPU", 0.6, Of.AT_LEAST), 0.5, False),
        (Measure("cpu", "CPU", 2, Of.OWN), 0.5, True),
        (Measure("cpu", "CPU", 1, Of.OWN), 0.5, False),
        (Measure("cpu", "CPU", 3, peer="alone"), 4.0, False),
        (Measure("cpu", "CPU", 3, peer="nobody"), None, None),
    ],
)
def test_bounds(measure: Measure, ratio: float | None, holds: bool | None) -> None:
    (row,) = rows_of("idle", "file", [measure], RUNS)
    assert (row.ratio, row.holds) == (ratio, holds)
    (line,) = plain([row])
    assert line["holds"] is holds


def test_a_row_as_people_read_it() -> None:
    measure = Measure("cpu", "CPU, ms", 0.4, scale=0.001, digits=0)
    rows = rows_of("idle", "file", [measure, Measure("absent", "")], RUNS)
    line = ["idle, file", "CPU, ms", "2,000 (1,000 to 3,000)", "4,000", "alone 500", "0.50", "0.4", "NO"]
    assert [cells(row) for row in rows] == [line]
    assert markdown(rows).splitlines()[2] == f"| {' | '.join(line)} |"


def test_restores_that_were_wrong_are_named() -> None:
    assert wrong({"idle": RUNS}) == []
    assert wrong({"idle": RUNS | {"syncd": [{"right": False}]}}) == ["idle: syncd"]


def test_every_scenario_can_be_run() -> None:
    for scenario in SCENARIOS.values():
        assert bool(scenario.run) != bool(scenario.whole)
        assert scenario.measures


@pytest.mark.parametrize(
    ("ys", "expected"), [([5, 5, 5], 0.0), ([1, 10, 100], 1.0), ([100, 10, 1], -1.0), ([1, 100, 10_000], 2.0)]
)
def test_slopes(ys: list[float], expected: float) -> None:
    assert slope([10, 100, 1000], ys) == pytest.approx(expected)


def test_a_slope_needs_two_points() -> None:
    assert slope([10, 10], [1, 2]) == 0.0
    assert slope([10, 100], [0, 2]) == 0.0


def test_sizes() -> None:
    assert sizes_up_to(5000) == [10, 100, 1000, 5000]
    assert sizes_up_to(100) == [10, 100]


def test_what_grows_with_the_size_is_marked() -> None:
    flat = {
        "bytes_per_message": 100.0,
        "cpu_ms_per_message": 1.0,
        "lag_p50_s": 0.5,
        "lag_p99_s": 1.0,
        "steady_peak_mb": 80.0,
        "restore_seconds": 1.0,
    }
    grown = flat | {"steady_peak_mb": 8000.0, "restore_seconds": 100.0}
    points = [Point("syncd", 10, 200.0, flat), Point("syncd", 1000, 200.0, grown)]
    assert heads(points, by="megabytes") == ["", "10 MB", "1,000 MB", "slope"]
    rows = {row[0]: row[-1] for row in table(points, by="megabytes")}
    assert rows["syncd: RSS, MB"] == "+1.00 grows"
    assert rows["syncd: restore, s"] == "+1.00"
    assert rows["syncd: bytes for a message"] == "+0.00"


class Told:
    """A daemon that has logged so much."""

    def __init__(self, *events: int | None) -> None:
        self.lines: list[dict[str, object]] = [
            {"event": "source.compared"}
            if commits is None
            else {"event": "delta.sealed", "seq": 0, "commits": commits}
            for commits in events
        ]

    def of(self, *events: str) -> list[dict[str, object]]:
        return [line for line in self.lines if line["event"] in events]

    def is_level(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((1, 2, 3), [0, 1, 3, 6]),
        ((1, None, 2, 3), [0, 1, 7, 10]),  # the comparison's delta has six, whatever it says
        ((1, None, 2, None, 2, 3), [0, 1, 1, 7, 10]),
        ((None, 9, 1), [0, 9, 10]),
    ],
)
def test_a_comparison_has_the_commits_that_the_others_leave(
    tmp_path: Path, events: tuple[int | None, ...], expected: list[int]
) -> None:
    tool = Syncd(tmp_path, tmp_path / "chat.db", Place())
    told = Told(*events)
    tool.daemon, tool.rig = cast("Daemon", told), cast("Rig", told)
    assert tool._counted(commits(*[1.0] * 10))[1] == expected
