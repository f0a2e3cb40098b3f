"""A slice of the tamper campaign, and that it can fail."""

import pytest

from syncd.envelope.keys import VerifyKey
from tests.campaigns.tamper import Broken, campaign


async def test_a_writer_of_the_bucket_changes_nothing_unnoticed() -> None:
    run = await campaign(1000, seed=7)
    assert run.counts.total() > 990
    for kind in ("deltas", "epochs", "packs", "snapshots"):
        assert run.counts[f"{kind}: flipped"] > 10
    assert run.outcomes["restored the newest state"] > 0
    assert run.outcomes["restore refused"] > 0


async def test_without_signatures_the_campaign_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifyKey, "verify", lambda *_, **__: None)
    with pytest.raises(Broken):
        await campaign(1000, seed=7)
