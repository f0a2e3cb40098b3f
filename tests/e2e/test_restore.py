"""`syncd restore`: every way to say what and from where gives the database of that moment, byte for byte."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest

from syncd.model import format_time
from tests.e2e.conftest import Kept
from tests.e2e.process import (
    SYNCD,
    Outcome,
    Zygote,
    assert_refused,
    environment,
    partials,
    poll,
    succeeded,
    syncd,
)
from tests.support import oracle


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "restored.db"


Restore = Callable[..., Outcome]


@pytest.fixture
def restore(kept: Kept, quick: Zygote) -> Restore:
    """Restores to a file, which must succeed."""

    def run(to: Path, *options: object, run: Callable[..., Outcome] = quick) -> Outcome:
        site = kept.site
        arguments = ("restore", "chat", "--config", site.config, *site.kit_options, "--to", to, *options)
        outcome = succeeded(run(*arguments))
        assert partials(to.parent) == []
        return outcome

    return run


def test_the_newest_state(kept: Kept, to: Path, restore: Restore) -> None:
    restore(to, run=syncd)
    assert to.read_bytes() == kept.last.truth
    assert oracle.integrity_check(to) == []
    assert to.stat().st_mode & 0o777 == 0o600
    assert list(to.parent.iterdir()) == [to]


def test_every_boundary_by_its_seq(kept: Kept, tmp_path: Path, restore: Restore) -> None:
    for point in kept.points:
        to = tmp_path / f"{point.seq}.db"
        restore(to, "--seq", point.seq)
        assert to.read_bytes() == point.truth, point.seq


def test_a_time_between_two_batches_is_the_batch_before_it(
    kept: Kept, tmp_path: Path, restore: Restore
) -> None:
    for before, after in ((1, 2), (2, 3)):
        point, next_point = kept.points[before], kept.points[after]
        for number, ms in enumerate((point.captured_ms, next_point.captured_ms - 1)):
            to = tmp_path / f"{before}-{number}.db"
            restore(to, "--at", format_time(ms))
            assert to.read_bytes() == point.truth, (before, ms)


def test_a_time_after_the_last_batch_is_the_last_one(kept: Kept, to: Path, restore: Restore) -> None:
    restore(to, "--at", "2999-01-01T00:00:00Z")
    assert to.read_bytes() == kept.last.truth


def test_from_the_shadow_without_key_or_network(kept: Kept, to: Path, quick: Zygote) -> None:
    succeeded(quick("restore", "chat", "--config", kept.site.config, "--from", "shadow", "--to", to))
    assert to.read_bytes() == kept.last.truth
    assert to.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", ["local", "second"])
def test_from_a_target_by_its_name(kept: Kept, to: Path, target: str, restore: Restore) -> None:
    restore(to, "--from", target, "--seq", kept.points[1].seq)
    assert to.read_bytes() == kept.points[1].truth


def test_json_says_what_came_out(kept: Kept, to: Path, quick: Zygote) -> None:
    point = kept.points[2]
    options = ("--config", kept.site.config, *kept.site.kit_options, "--seq", point.seq, "--json")
    report = succeeded(quick("restore", "chat", "--to", to, *options)).json
    assert report.pop("seconds") >= 0
    assert report == {
        "to": str(to),
        "generation": kept.site.generation().name,
        "seq": point.seq,
        "captured_at": point.time,
        "bytes": len(point.truth),
        "deltas": point.seq,
        "gap": None,
    }


@pytest.mark.parametrize("named", ["directory of the target", "directory of the database", "both"])
def test_a_bare_archive_elsewhere(kept: Kept, tmp_path: Path, named: str) -> None:
    # Another machine: nothing of the site is there but the archive, under another path, and the kit.
    archive = shutil.copytree(kept.site.archive, tmp_path / "moved" / "archive")
    kit = shutil.copy(kept.site.kit, tmp_path / "kit")
    passphrase = shutil.copy(kept.site.passphrase, tmp_path / "passphrase")
    home = tmp_path / "home"
    home.mkdir()
    url = archive.as_uri() + ("/chat" if named == "directory of the database" else "")
    what = ("chat",) if named == "both" else ()
    options = ("--archive", url, "--identity", kit, "--passphrase-file", passphrase, "--to", "restored.db")
    outcome = syncd("restore", *what, *options, cwd=home, env={"HOME": str(home)})
    assert (outcome.code, outcome.err) == (0, "")
    assert (home / "restored.db").read_bytes() == kept.last.truth
    assert [path.name for path in home.iterdir()] == ["restored.db"]


def test_an_archive_that_lost_its_newest_objects(kept: Kept, to: Path, tmp_path: Path, quick: Zygote) -> None:
    """Nothing in what is left tells; a head that was kept elsewhere does."""
    archive = shutil.copytree(kept.site.archive, tmp_path / "archive")
    where = ("--archive", archive.as_uri(), "--identity", kept.site.kit)
    restoring = ("restore", *where, "--passphrase-file", kept.site.passphrase, "--to", to)
    (generation,) = succeeded(quick("log", *where, "--json")).json
    head = generation["head"]
    status = succeeded(quick("status", "--config", kept.site.config, "--json")).json
    assert status["databases"]["chat"]["targets"]["local"]["head"] == head
    assert head.split(":")[1] == str(kept.last.seq)
    assert f"\nhead: {head}\n" in succeeded(quick("log", *where)).out
    assert generation["whole_until"] == kept.last.time
    succeeded(quick(*restoring, "--expect-head", head, "--newest-within", "1000d"))
    assert to.read_bytes() == kept.last.truth
    to.unlink()
    max((archive / "chat" / "generations" / generation["generation"] / "deltas").iterdir()).unlink()
    assert_refused(
        quick(*restoring, "--expect-head", head), 15, "the archive ends at", "what was newer is gone"
    )
    assert not to.exists()
    assert_refused(quick(*restoring, "--expect-head", head[:-1]), 10, "--expect-head", "is no head")
    assert_refused(quick(*restoring, "--newest-within", "soon"), 10, "--newest-within soon")
    assert_refused(quick(*restoring, "--newest-within", "0s"), 15, "known to be whole until")
    succeeded(quick(*restoring))
    assert to.read_bytes() == kept.points[-2].truth


def test_the_kit_alone_knows_where_the_archive_is(kept: Kept, to: Path, quick: Zygote) -> None:
    succeeded(quick("restore", *kept.site.kit_options, "--to", to, cwd=to.parent))
    assert to.read_bytes() == kept.last.truth


def test_an_existing_file_is_replaced_only_by_force(
    kept: Kept, to: Path, restore: Restore, quick: Zygote
) -> None:
    wal = to.with_name(f"{to.name}-wal")
    options = ("restore", "chat", "--config", kept.site.config, "--from", "shadow", "--to", to)
    for path in (to, wal):
        path.write_bytes(b"theirs")
        assert_refused(quick(*options), 17, str(path), "exists")
        assert path.read_bytes() == b"theirs"
        if path == to:
            to.unlink()
    to.write_bytes(b"theirs")
    restore(to, "--force")
    assert to.read_bytes() == kept.last.truth
    # A log that is not its own would be folded into it by the next connection.
    assert list(to.parent.iterdir()) == [to]


def test_a_target_that_fails_gives_way_to_the_next(
    kept: Kept, to: Path, tmp_path: Path, quick: Zygote
) -> None:
    config = tmp_path / "syncd.toml"
    text = kept.site.config.read_text()
    config.write_text(text.replace(kept.site.archive.as_uri(), (tmp_path / "not" / "mounted").as_uri()))
    outcome = quick("restore", "chat", "--config", config, *kept.site.kit_options, "--to", to)
    assert outcome.code == 0
    assert to.read_bytes() == kept.last.truth
    (line,) = outcome.err.splitlines()
    assert line.startswith("syncd: local: ")
    assert line.endswith("trying the next target")


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_an_interrupt_leaves_nothing(kept: Kept, to: Path, tmp_path: Path, number: Signals) -> None:
    archive = shutil.copytree(kept.site.archive, tmp_path / "archive")
    (held,) = archive.glob("chat/generations/*/packs/*")
    held.unlink()
    os.mkfifo(held)  # whoever reads it waits until somebody has written to it
    arguments = ("--archive", archive.as_uri(), *map(str, kept.site.kit_options), "--to", str(to))
    with subprocess.Popen([*SYNCD, "restore", *arguments], env=environment()) as process:
        poll(lambda: partials(to.parent), "the restore has begun")
        with writer_of(held):  # the restore has come to it
            process.send_signal(number)
            poll(lambda: not partials(to.parent), "what was half-written is gone")
    assert process.returncode == 130
    assert not to.exists()


@contextmanager
def writer_of(fifo: Path) -> Iterator[None]:
    def opened() -> int | None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            return None

    fd = poll(opened, "somebody reads")
    try:
        yield
    finally:
        os.close(fd)
