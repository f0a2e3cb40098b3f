"""Databases, keys, configurations and places that cannot be used: one clear line, its exit code."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import Kept
from tests.e2e.process import Zygote, assert_refused
from tests.e2e.support import Site
from tests.e2e.table import Desk, Row, check

NOBODY = 65534
Make = Callable[[Path], object]
Prepare = Callable[[Desk], Sequence[object]]


def database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE message (body)")


def once(make: Make, *, where: str = "chat.db", target: str = "archive", uid: int = 0) -> Prepare:
    """`syncd run --once` of what `make` puts at `where`, as user `uid`."""

    def prepare(desk: Desk) -> Sequence[object]:
        path = desk.path / "app" / where
        (desk.path / "app").mkdir()
        make(path)
        body = f'url = "{(desk.path / target).as_uri()}"'
        site = Site(desk.path / "site", {"chat": path}, {"local": body})
        return run(desk, site, uid)

    return prepare


def run(desk: Desk, site: Site, uid: int = 0) -> Sequence[object]:
    if uid:
        desk.uid = uid
        for path in (desk.path, site.directory, *site.directory.iterdir()):
            os.chown(path, uid, uid)
    return ("run", "--once", "--config", site.config)


def locked(path: Path) -> None:
    database(path)
    path.chmod(0)


def in_locked_directory(path: Path) -> None:
    database(path)
    path.parent.chmod(0)


def with_locked_wal(path: Path) -> None:
    database(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    path.with_name(f"{path.name}-wal").touch(mode=0)


def loop(path: Path) -> None:
    path.symlink_to(path)


def nothing(path: Path) -> None:
    assert not path.exists()


def with_target(make: Make, target: str, uid: int = 0) -> Prepare:
    """A good database, and a target that `make` has prepared."""

    def prepare(desk: Desk) -> Sequence[object]:
        make(desk.path)
        return once(database, target=target, uid=uid)(desk)

    return prepare


def with_site(change: Callable[[Site], object], *, uid: int = 0) -> Prepare:
    """A good database, and a site that `change` has spoilt."""

    def prepare(desk: Desk) -> Sequence[object]:
        path = desk.path / "chat.db"
        database(path)
        site = Site(desk.path / "site", {"chat": path})
        arguments = run(desk, site, uid)
        change(site)
        return arguments

    return prepare


def status_of_others(desk: Desk) -> Sequence[object]:
    """As a user who may read the configuration, and not the state."""
    desk.uid = NOBODY
    path = desk.path / "chat.db"
    site = Site(desk.path / "site", {"chat": path})
    site.config.chmod(0o644)
    (site.state_dir / "chat").mkdir(parents=True)
    site.state_dir.chmod(0o700)
    return ("status", "--config", site.config)


def shadow_of_others(desk: Desk) -> Sequence[object]:
    *_, config = status_of_others(desk)
    return ("restore", "chat", "--config", config, "--from", "shadow", "--to", desk.path / "x.db")


def into_locked(where: str, mode: int) -> Prepare:
    def prepare(desk: Desk) -> Sequence[object]:
        desk.uid = NOBODY
        site = desk.kept.site
        kit, passphrase = (shutil.copy(p, desk.path) for p in (site.kit, site.passphrase))
        for path in (kit, passphrase):
            os.chown(path, NOBODY, NOBODY)
        archive = shutil.copytree(site.archive, desk.path / "archive")
        for path in (archive, *archive.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        desk.to.parent.chmod(mode)
        options = ("--identity", kit, "--passphrase-file", passphrase, "--to", desk.to.parent / where)
        return ("restore", "--archive", archive.as_uri(), *options)

    return prepare


def unreadable_config(desk: Desk) -> Sequence[object]:
    desk.uid = NOBODY
    path = desk.path / "syncd.toml"
    path.touch(mode=0o600)
    return ("status", "--config", path)


def named_config(desk: Desk) -> Sequence[object]:
    desk.env["SYNCD_CONFIG"] = str(desk.path / "named.toml")
    return ("status",)


def config_of(content: bytes) -> Prepare:
    def prepare(desk: Desk) -> Sequence[object]:
        path = desk.path / "syncd.toml"
        path.write_bytes(content)
        return ("log", "chat")

    return prepare


ROWS = (
    Row("no SQLite file", once(lambda p: p.write_bytes(os.urandom(4096))), 11, ("chat.db", "not a SQLite")),
    Row("short file", once(lambda p: p.write_bytes(b"SQLite format 3\0")), 11, ("chat.db",)),
    Row("empty file", once(Path.touch), 11, ("chat.db", "empty")),
    Row("no file", once(nothing), 11, ("chat.db does not exist",)),
    Row("no parent", once(nothing, where="not/there/chat.db"), 11, ("chat.db does not exist",)),
    Row("parent is a file", once(nothing, where="file/chat.db"), 11, ("chat.db",)),
    Row("directory", once(Path.mkdir), 11, ("chat.db is not a file",)),
    Row("FIFO", once(os.mkfifo), 11, ("chat.db is not a file",)),
    Row("loop of links", once(loop), 11, ("chat.db", "symbolic links")),
    Row("target on no disk", with_target(lambda _: None, "not/mounted"), 14, ("not does not exist",)),
    Row("target is a file", with_target(lambda p: (p / "f").touch(), "f"), 14, ("not a directory",)),
    Row("no signing key", with_site(lambda s: s.signing_key.unlink()), 10, ("signing.key", "No such file")),
    Row("open signing key", with_site(lambda s: s.signing_key.chmod(0o644)), 10, ("others can reach it",)),
    Row("no key but text", with_site(lambda s: s.signing_key.write_text("x\n")), 10, ("signing.key",)),
    Row("binary key", with_site(lambda s: s.signing_key.write_bytes(b"\xff")), 10, ("signing.key",)),
    Row("state is a file", with_site(lambda s: s.state_dir.touch()), 19, ("state",)),
    Row("open state", with_site(lambda s: s.state_dir.mkdir(mode=0o755)), 10, ("others can reach it",)),
    Row("no configuration", lambda _: ("status",), 10, ("no configuration", "syncd.toml")),
    Row("missing configuration", named_config, 10, ("named.toml: no such file",)),
    Row("no TOML", config_of(b"a =\n"), 10, ("syncd.toml", "not valid TOML", "line 1")),
    Row("binary configuration", config_of(b"a = 1\n\xff"), 10, ("line 2 is not UTF-8",)),
)
AS_NOBODY = (
    Row("unreadable file", once(locked, uid=NOBODY), 11, ("chat.db cannot be read: Permission denied",)),
    Row("unreadable directory", once(in_locked_directory, uid=NOBODY), 11, ("chat.db", "Permission denied")),
    Row("unreadable wal", once(with_locked_wal, uid=NOBODY), 11, ("chat.db-wal", "Permission denied")),
    Row(
        "unwritable target",
        with_target(lambda p: (p / "a").mkdir(mode=0o500), "a", NOBODY),
        14,
        ("Permission denied",),
    ),
    Row(
        "unreadable key",
        with_site(lambda s: os.chown(s.signing_key, 0, 0), uid=NOBODY),
        10,
        ("signing.key", "Permission denied"),
    ),
    Row("state of others", status_of_others, 19, ("state", "Permission denied")),
    Row("shadow of others", shadow_of_others, 19, ("state", "cannot be read")),
    Row("unreadable configuration", unreadable_config, 10, ("cannot be read: Permission denied",)),
    Row("unwritable destination", into_locked("x.db", 0o555), 10, ("to cannot be written",)),
    Row("unsearchable destination", into_locked("below/x.db", 0o600), 10, ("Permission denied",)),
)


def name(row: Row) -> str:
    return row.name.replace(" ", "-")


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_it_is_one_line_and_nothing_is_left(row: Row, kept: Kept, tmp_path: Path, quick: Zygote) -> None:
    check(row, kept, tmp_path, quick)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may pass; pytest's own are for one user."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-e2e-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("row", AS_NOBODY, ids=name)
def test_permissions_are_told_in_one_line(row: Row, kept: Kept, public: Path, quick: Zygote) -> None:
    check(row, kept, public, quick)


def test_five_problems_are_told_at_once(tmp_path: Path, quick: Zygote) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text(
        """
        state_dir = "relative"
        password = "hunter2"
        [log]
        level = "loud"
        [batch]
        max_delay = "5 parsecs"
        [keys]
        recipients = []
        [targets.local]
        url = "file:///var/backups/syncd"
        [databases.chat]
        path = "/srv/chat/chat.db"
        """
    )
    outcome = quick("run", "--config", config)
    assert (outcome.code, outcome.out) == (10, "")
    first, *problems = outcome.err.splitlines()
    assert first == f"syncd: {config}: 5 problems"
    fields = ["state_dir:", "log.level:", "batch.max_delay:", "keys.recipients:", "password:"]
    assert sorted(line.split()[0] for line in problems) == sorted(fields)
    assert all(line.startswith("  ") for line in problems)
    assert "hunter2" not in outcome.err


def test_wrong_usage_is_exit_code_2(quick: Zygote) -> None:
    for arguments in (
        ("restore", "chat"),
        ("rum",),
        ("restore", "--to", "x", "--seq", "-1"),
        ("log", "--at"),
    ):
        outcome = quick(*arguments)
        assert outcome.code == 2, outcome
        assert "Traceback" not in outcome.err


def test_which_database_must_be_said(quick: Zygote) -> None:
    assert_refused(quick("log"), 10, "which database?")
    assert_refused(quick("restore", "--to", "x"), 12, "recovery kit")
