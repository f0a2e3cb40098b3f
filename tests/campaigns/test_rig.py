"""What the campaigns rely on."""

from pathlib import Path

from tests.campaigns.rig import NAME, Depot, Rig


def test_status_of_a_daemon_that_is_just_making_its_state(tmp_path: Path) -> None:
    application = tmp_path / "application"
    application.mkdir()
    rig = Rig.make(tmp_path, application / "chat.db", Depot())
    assert rig.status()["state"] == "never started"
    directory = tmp_path / "syncd-state" / NAME
    directory.mkdir(parents=True)
    (directory / "state.db").touch()
    assert rig.status()["state"] == "new"
    assert rig.stored() is None
