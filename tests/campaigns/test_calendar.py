"""A slice of the calendar's campaign, and that it sees what it is there to see."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from syncd.policy import verdicts
from syncd.policy.inventory import Inventory
from syncd.policy.retention import Promise, Retention, promised
from tests.campaigns.calendar import STEPS, campaign, history
from tests.campaigns.calendar_checks import Tally
from tests.campaigns.calendar_oracle import Rule, View, may, must


def test_histories_keep_every_promise() -> None:
    tally = campaign([f"7.{number}" for number in range(8)], STEPS, None)
    assert tally.failed == []
    assert tally.histories == 8
    assert min(tally.counts[what] for what in ("prunes", "restores", "objects deleted", "positions")) > 0


def test_a_history_follows_its_seed(tmp_path: Path) -> None:
    tallies = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        tallies.append(Tally())
        assert history("7.1", 15, tmp_path / name, tallies[-1]) == ""
    assert tallies[0] == tallies[1]


@pytest.mark.parametrize("what", ["bundles", "snapshots"])
def test_the_campaign_sees_a_rule_that_keeps_too_little(what: str) -> None:
    def less(there: Inventory, retention: Retention, now_ms: int) -> Promise:
        promise = promised(there, retention, now_ms)
        if what == "bundles":
            return replace(promise, bundles=dict(list(promise.bundles.items())[:-1]))
        return replace(promise, snapshots=dict(list(promise.snapshots.items())[:-1]))

    with patch.object(verdicts, "promised", less):
        tally = campaign([f"7.{number}" for number in range(6)], STEPS, None)
    assert tally.failed


def test_the_campaign_sees_garbage() -> None:
    def more(there: Inventory, retention: Retention, now_ms: int) -> Promise:
        return promised(there, replace(retention, minimum=retention.minimum + 1, pitr_ms=1 << 50), now_ms)

    with patch.object(verdicts, "promised", more):
        tally = campaign([f"7.{number}" for number in range(6)], STEPS, None)
    assert tally.failed


def test_of_nothing_nothing_is_kept() -> None:
    rule = Rule(0, 0, 0, 0, 0, 0, 1, 1.0)
    assert must(View(), rule, 0) == may(View(), rule, 0) == set()
