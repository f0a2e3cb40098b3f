"""A slice of the kill campaign, and that it sees what it is there to see."""

import random
from pathlib import Path

import pytest
from typing_extensions import override

from tests.campaigns.chapter import Chapter, Tally
from tests.campaigns.rig import Depot


class Damaging(Chapter):
    """Loses an object of the archive before the end."""

    @override
    def _end(self, database: Path, newest: int) -> None:
        super()._end(database, newest)
        next(self._directory.glob("archive/chat/generations/*/packs/*")).unlink()


def test_kills_lose_nothing(tmp_path: Path) -> None:
    tally = Tally()
    Chapter(tmp_path, Depot(), random.Random(1), tally, messages=1500).run(5, verify_every=5)
    assert tally.wrong == []
    assert tally.identical == 1
    assert tally.kills.total() == 5
    assert tally.restores >= tally.positions > 0


def test_the_campaign_sees_a_lost_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    Damaging(tmp_path, Depot(), random.Random(2), tally, messages=200).run(1, verify_every=5)
    assert any("missing" in sentence for sentence in tally.wrong), (tally, capsys.readouterr())
