"""Objects that a target acknowledged and does not have: a drill names them, status shows it, it is mended."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.e2e.application import Application
from tests.e2e.process import Zygote, poll, running, succeeded
from tests.e2e.support import Site

LONG_AGO = 1_700_000_000_000


@pytest.mark.parametrize(
    ("what", "named", "own_kit"),
    [("packs", "packs/", False), ("packs", "packs/", True), ("deltas", "deltas", False)],
    ids=["a pack and the self-test", "a pack and a restore", "a bundle and the self-test"],
)
def test_a_drill_has_the_target_mended(
    application: Application, quick: Zygote, what: str, named: str, *, own_kit: bool
) -> None:
    site = application.site
    if own_kit:
        site.passphrase.chmod(0o600)
        site.configure(f'[drill]\nidentity = "{site.kit}"\npassphrase_file = "{site.passphrase}"')
    for text in ("zero", "one", "two"):
        application.post(text)
        succeeded(quick("run", "--once", "--config", site.config))
    make_due(site)
    min(site.archive.rglob(f"{what}/*")).unlink()
    with running(site.config) as daemon:
        failed = daemon.wait_for("job.failed")
        assert failed["job"] == "drill local"
        assert named in failed["error"]
        assert "a whole new snapshot was taken" in failed["error"]
        poll(lambda: not drill_is_fine(site, quick), "status says so")
        assert daemon.end().code == 0
    assert application.restored(quick) == application.truth().read_bytes()
    if not own_kit:  # which looks at what is newest; a restore may draw a position that is lost for good
        make_due(site)
        succeeded(quick("run", "--once", "--config", site.config))
        assert drill_is_fine(site, quick)


def drill_is_fine(site: Site, quick: Zygote) -> bool:
    status = json.loads(succeeded(quick("status", "--json", "--config", site.config)).out)
    return bool(status["databases"]["chat"]["jobs"]["drill local"]["ok"])


def make_due(site: Site) -> None:
    """As if the drill had run last long ago."""
    with closing(sqlite3.connect(site.state_dir / "chat" / "state.db")) as state, state:
        state.execute("UPDATE job SET last_ms = ? WHERE name = 'drill local'", (LONG_AGO,))
