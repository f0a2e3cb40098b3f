"""`syncd verify` and `syncd drill` as commands: a directory target that is whole, and one that is not."""

import os
import random
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from syncd.cli.init import init
from tests.e2e.conftest import Kept
from tests.e2e.process import Outcome, Zygote, succeeded
from tests.e2e.support import CHEAP, objects
from tests.support.damage import flipped

KINDS = ("deltas", "epochs", "packs", "snapshots")


def flip(path: Path, rng: random.Random) -> None:
    raw = path.read_bytes()
    path.write_bytes(flipped(raw, rng.randrange(len(raw)), 1 << rng.randrange(8)))


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def remove(path: Path, _rng: random.Random) -> None:
    path.unlink()


def swap(path: Path, rng: random.Random) -> None:
    """With another object of the generation."""
    others = [p for p in path.parent.parent.glob("*/*") if p.read_bytes() != path.read_bytes()]
    path.write_bytes(rng.choice(sorted(others)).read_bytes())


@pytest.fixture
def copy(kept: Kept, tmp_path: Path) -> Path:
    """A copy of the archive, to be damaged."""
    shutil.copytree(kept.site.archive, tmp_path / "copy")
    return tmp_path / "copy"


def at(kept: Kept, copy: Path) -> tuple[object, ...]:
    return ("chat", "--archive", copy.as_uri(), *kept.site.kit_options)


def chosen(copy: Path, kind: str, rng: random.Random) -> Path:
    """An object whose removal shows: not the last bundle, which an archive may end before."""
    among = sorted(copy.glob(f"chat/generations/*/{kind}/*"))
    return rng.choice(among[:-1] if kind == "deltas" else among)


def test_a_whole_archive_of_two_targets(kept: Kept, quick: Zygote) -> None:
    done = succeeded(quick("verify", "chat", "--config", kept.site.config))
    assert done.out.count("0 missing or damaged") == 2
    assert "not proven: that what is sealed opens" in done.out
    assert done.out.count("everything that the daemon on this host stored is there") == 2


def test_everything_opened(kept: Kept, quick: Zygote) -> None:
    done = succeeded(
        quick("verify", "chat", "--config", kept.site.config, *kept.site.kit_options, "--full", "--json")
    )
    for target in done.json:
        assert (target["findings"], target["notes"]) == ([], [])
        assert target["deltas_opened"] == target["deltas"] == kept.last.seq
        assert target["packs_opened"] == target["packs"] > 0
        assert target["snapshots_summed"] == target["snapshots"] > 0


def test_a_sample(kept: Kept, quick: Zygote) -> None:
    done = succeeded(
        quick(
            *("verify", "chat", "--config", kept.site.config, *kept.site.kit_options),
            *("--from", "second", "--sample", "5%", "--quick", "--json"),
        )
    )
    (target,) = done.json
    assert (target["target"], target["packs_opened"]) == ("second", 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attack", [flip, truncate, remove, swap])
def test_the_damaged_object_is_named(
    kept: Kept, quick: Zygote, copy: Path, kind: str, attack: Callable[[Path, random.Random], None]
) -> None:
    rng = random.Random(f"{kind} {attack.__name__}")
    path = chosen(copy, kind, rng)
    attack(path, rng)
    done = quick("verify", *at(kept, copy), "--full", "--json")
    assert done.code == 15, done.err
    assert "1 object is missing or damaged" in done.err
    (target,) = done.json
    assert [finding["object"] for finding in target["findings"]] == [str(path.relative_to(copy / "chat"))]
    drilled = quick("drill", *at(kept, copy), "--json", "--scratch", copy.parent)
    assert drilled.code in {0, 15, 16}
    assert drilled.json[0]["passed"] == (drilled.code == 0)


def test_people_read_it_in_a_table(kept: Kept, quick: Zygote, copy: Path) -> None:
    path = chosen(copy, "packs", random.Random(1))
    path.unlink()
    done = quick("verify", *at(kept, copy))
    assert done.code == 15
    assert path.name in done.out.replace("\n", "")
    assert "it is missing" in done.out
    assert "snapshot 0" in done.out
    assert "of everything that is not named above" in done.out
    drilled = quick("drill", *at(kept, copy), "--scratch", copy.parent)
    assert drilled.code == 15
    assert "the restore failed" in drilled.out
    assert path.name in drilled.out
    assert path.name in drilled.err


def test_the_host_of_the_daemon_knows_what_was_stored(kept: Kept, quick: Zygote, tmp_path: Path) -> None:
    """A tail that was cut off is nothing that the archive itself could tell."""
    last = max((kept.site.archive).glob("chat/generations/*/deltas/*"))
    away = last.rename(tmp_path / "away")
    try:
        done = quick("verify", "chat", "--config", kept.site.config)
    finally:
        away.rename(last)
    assert done.code == 15
    assert "the daemon stored everything up to" in " ".join(done.out.split())


def drill(kept: Kept, quick: Zygote, *options: object) -> Outcome:
    return quick("drill", "chat", "--config", kept.site.config, *options, "--json")


def test_drills(kept: Kept, quick: Zygote, tmp_path: Path) -> None:
    before = objects(kept.site.archive)
    for _ in range(3):
        done = succeeded(drill(kept, quick, *kept.site.kit_options, "--scratch", tmp_path))
        for target in done.json:
            assert (target["kind"], target["passed"], target["unchecked"]) == ("restore", True, [])
            assert target["seq"] in {point.seq for point in kept.points}
    assert list(tmp_path.iterdir()) == []
    assert objects(kept.site.archive) == before


def test_a_self_test_needs_no_identity(kept: Kept, quick: Zygote, tmp_path: Path) -> None:
    before = objects(kept.site.archive)
    done = succeeded(
        quick("drill", "chat", "--config", kept.site.config, "--self-test", "--scratch", tmp_path)
    )
    assert "the self-test passed" in done.out
    assert "not proven: that your recovery kit" in done.out
    assert objects(kept.site.archive) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "options", "code", "words"),
    [
        ("verify", ("--sample", "0%"), 10, "not a share"),
        ("verify", ("--sample", "5"), 10, "5%"),
        ("verify", ("--sample", "5%", "--full"), 10, "exclude each other"),
        ("verify", ("--full",), 12, "recovery kit"),
        ("verify", ("--from", "nowhere"), 10, "nowhere"),
        ("drill", (), 10, "--self-test"),
        ("drill", ("--self-test", "--scratch", "/nonexistent/x"), 19, "--scratch"),
    ],
)
def test_what_cannot_be_done_is_said(
    kept: Kept, quick: Zygote, command: str, options: tuple[str, ...], code: int, words: str
) -> None:
    done = quick(command, "chat", "--config", kept.site.config, *options)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_another_archives_kit_is_not_damage(kept: Kept, quick: Zygote, tmp_path: Path) -> None:
    init(
        tmp_path / "syncd.toml",
        name="chat",
        database=tmp_path / "none.db",
        target=tmp_path.as_uri(),
        kit=tmp_path / "kit.txt",
        passphrase_file=kept.site.passphrase,
        console=Console(file=StringIO()),
        params=CHEAP,
    )
    done = quick(
        *("verify", "chat", "--archive", kept.site.archive.as_uri(), "--identity", tmp_path / "kit.txt")
    )
    assert done.code == 12
    assert "is not the kit of this archive" in done.err
