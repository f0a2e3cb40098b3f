"""Two daemons, one archive, as real processes: refused, taken over, and the copy of a host."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from syncd import recover
from tests.e2e.application import Application
from tests.e2e.process import SECONDS, Zygote, assert_refused, poll, running, succeeded
from tests.e2e.support import Site, objects


def second_config(site: Site, directory: Path) -> Path:
    """The same database, keys and target, for a daemon with a state directory of its own."""
    directory.mkdir()
    config = directory / "syncd.toml"
    config.write_text(site.config.read_text().replace(str(site.state_dir), str(directory / "state")))
    return config


def target_now(quick: Zygote, config: Path) -> Any:
    """What `status` says of the target."""
    return succeeded(quick("status", "--json", "--config", config)).json["databases"]["chat"]["targets"][
        "local"
    ]


def generation_of(quick: Zygote, config: Path) -> str:
    report = succeeded(quick("status", "--json", "--config", config)).json
    return str(report["databases"]["chat"]["generation"])


def recovered(site: Site, to: Path, *options: object) -> bytes:
    """What the program that stands alone makes of the archive."""
    to.unlink(missing_ok=True)
    arguments = ("--archive", site.archive, *site.kit_options, "--to", to, *options)
    command = [sys.executable, "-I", recover.__file__, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    return to.read_bytes()


def test_of_two_that_start_at_once_one_writes_and_the_other_may_take_over(
    application: Application, quick: Zygote, tmp_path: Path
) -> None:
    site = application.site
    configs = (site.config, second_config(site, tmp_path / "second"))
    application.post("hello")
    with running(configs[0]) as one, running(configs[1]) as two:

        def refused() -> list[int]:
            return [
                number
                for number, daemon in enumerate((one, two))
                if any(line["event"] == "target.conflicted" for line in daemon.events())
            ]

        (loser,) = poll(refused, "one is refused")
        writer = (one, two)[1 - loser]
        ours, theirs = configs[loser], configs[1 - loser]
        writer.wait_for("snapshot.stored")
        first = generation_of(quick, theirs)
        assert [path.name for path in (site.archive / "chat" / "generations").iterdir()] == [first]
        poll(lambda: target_now(quick, ours)["state"] == "claimed", "it says so")
        assert "writes this archive since" in target_now(quick, ours)["error"]
        assert_refused(quick("snapshot", "chat", "--config", ours), 20, "writes this archive since")
        application.post("the first goes on")
        before = application.truth().read_bytes()
        poll(lambda: application.restored(quick) == before, "it is stored")

        assert_refused(quick("claim", "chat", "--take-over", "--config", ours), 10, "nobody said yes")
        taken = succeeded(quick("claim", "chat", "--take-over", "--yes", "--config", ours))
        assert first in taken.out
        poll(lambda: target_now(quick, ours)["stored"], "it has begun anew")
        known = {name for name in objects(site.archive) if first in name}
        application.post("met by the closing")
        error = writer.wait_for("target.conflicted")
        assert "took this archive over" in error["error"]
        assert target_now(quick, theirs)["state"] == "claimed"
        after = application.truth().read_bytes()
        poll(lambda: application.restored(quick) == after, "the new one's is the newest")
        assert application.restored(quick, "--generation", first) == before
        assert {name for name in objects(site.archive) if first in name} == known
        begun = generation_of(quick, ours)
        for daemon in (one, two):
            outcome = daemon.end()
            assert (outcome.code, outcome.err) == (0, "")
    claims = succeeded(quick("claim", "chat", "--json", "--config", theirs)).json
    assert [claim["act"] for claim in claims] == ["began", "took over", "began"]
    assert "took over" in succeeded(quick("claim", "chat", "--config", theirs)).out
    assert_refused(quick("run", "--once", "--config", theirs), 20, "took this archive over")
    succeeded(quick("verify", "--archive", site.archive.as_uri(), *site.kit_options, "--full"))
    logged = succeeded(quick("log", "chat", "--config", theirs, "--json")).json
    assert {each["generation"]: each["closed"] for each in logged} == {first: True, begun: False}
    assert f"generation {first}, closed" in succeeded(quick("log", "chat", "--config", theirs)).out
    for options, truth in (((), after), (("--generation", first), before)):
        assert recovered(site, tmp_path / "recovered.db", *options) == truth
    # Back again, and where no daemon runs.
    succeeded(quick("claim", "chat", "--take-over", "--yes", "--config", theirs))
    application.post("back again")
    succeeded(quick("run", "--once", "--config", theirs))
    assert application.restored(quick) == application.truth().read_bytes()


def test_a_host_that_was_copied(application: Application, quick: Zygote, tmp_path: Path) -> None:
    """Found out at the first object of which there would be two; both histories can be restored."""
    site = application.site
    application.post("before")
    succeeded(quick("run", "--once", "--config", site.config))
    first = generation_of(quick, site.config)
    copy = second_config(site, tmp_path / "copy")
    shutil.copytree(site.state_dir, copy.parent / "state")
    application.post("of the first")
    succeeded(quick("run", "--once", "--config", site.config))
    of_the_first = application.truth().read_bytes()
    application.post("of the copy")
    with running(copy) as daemon:
        assert "written by another daemon" in daemon.wait_for("target.conflicted")["error"]
        begun = daemon.wait_for("generation.started")
        assert "another daemon wrote to the one before" in begun["reason"]
        second = str(begun["generation"])
        poll(lambda: target_now(quick, copy)["state"] == "ok", "it goes on")
        of_the_copy = application.truth().read_bytes()
        poll(lambda: application.restored(quick, "--generation", second) == of_the_copy, "it is stored")
        assert daemon.end().code == 0
    assert application.restored(quick, "--generation", first) == of_the_first
    application.post("of the first again")
    succeeded(quick("run", "--once", "--config", site.config))
    truth = application.truth().read_bytes()
    assert application.restored(quick, "--generation", first) == truth
    assert application.restored(quick, "--generation", second) == of_the_copy
    assert f"generation {second}" in target_now(quick, site.config)["beside"]
    assert f"generation {second}" in succeeded(quick("status", "--config", site.config)).out.replace("\n", "")
    succeeded(quick("verify", "--archive", site.archive.as_uri(), *site.kit_options, "--full"))
