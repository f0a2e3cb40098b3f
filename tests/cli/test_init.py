import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from syncd.cli import init as module
from syncd.cli.init import init
from syncd.config import check_private, load
from syncd.config.recipients import read_recipients
from syncd.envelope.identity import unprotect
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.errors import ConfigError, SourceError, WouldOverwrite
from tests.cli.desk import NOW, PASSPHRASE, Desk, Script, mode, read


def test_with_all_arguments_nothing_is_asked_and_three_files_fit_together(desk: Desk) -> None:
    made, script = desk.init(endpoint_url="https://s3.example/")
    assert script.asked == []
    assert sorted(path.name for path in desk.path.iterdir()) == ["kit.txt", "signing.key", "syncd.toml"]
    config, signing, kit = read(made)
    assert config.databases["chat"].path == desk.database
    assert list(config.targets) == ["bucket"]
    assert config.targets["bucket"].url == "s3://bucket/prefix"
    assert config.targets["bucket"].endpoint_url == "https://s3.example"
    assert config.keys.signing_key == made.signing_key == desk.path / "signing.key"
    assert config.state_dir == made.state_dir == desk.path / "syncd-state"
    assert (kit.database, kit.target_url, kit.endpoint_url) == (
        "chat",
        "s3://bucket/prefix",
        "https://s3.example",
    )
    assert kit.created_ms == NOW
    assert kit.verify_key == signing.verify_key
    identity = unprotect(kit.protected_identity, PASSPHRASE)
    assert identity.recipient == kit.recipient
    assert [each.recipient for each in read_recipients(config.keys)] == [identity.recipient]


def test_modes(desk: Desk) -> None:
    before = os.umask(0)
    try:
        made, _ = desk.init()
    finally:
        os.umask(before)
    assert (mode(made.config), mode(made.signing_key), mode(made.kit)) == (0o640, 0o600, 0o600)
    check_private(made.signing_key)


def test_no_secret_is_shown_or_stays_outside_the_kit(desk: Desk) -> None:
    made, _ = desk.init()
    _, signing, kit = read(made)
    identity = unprotect(kit.protected_identity, PASSPHRASE)
    for text in (desk.said, made.config.read_text()):
        assert PASSPHRASE not in text
        assert signing.to_text() not in text
    assert signing.to_text() not in made.kit.read_text()
    for path in desk.path.iterdir():
        raw = path.read_bytes()
        assert identity.private not in raw
        assert identity.private.hex().encode() not in raw


def test_what_is_not_given_is_asked_for_with_defaults(desk: Desk) -> None:
    made, script = desk.init(
        str(desk.database), "", "", "", PASSPHRASE, PASSPHRASE,
        name=None, database=None, target=None, kit=None, passphrase_file=None,
    )  # fmt: skip
    assert len(script.asked) == 6
    config, _, kit = read(made)
    assert list(config.databases) == ["chat"]
    assert {name: target.url for name, target in config.targets.items()} == {
        "local": "file:///var/backups/syncd"
    }
    assert made.kit == desk.path / "recovery-kit-chat.txt"
    assert unprotect(kit.protected_identity, PASSPHRASE).recipient == kit.recipient


@pytest.mark.parametrize(
    ("missing", "question"),
    [
        ("name", "A name for it"),
        ("database", "The application's SQLite database"),
        ("target", "Where to store it"),
        ("kit", "Where to write the recovery kit"),
    ],
)
def test_only_what_is_missing_is_asked_for(desk: Desk, missing: str, question: str) -> None:
    given = str(desk.arguments[missing])
    _, script = desk.init(given, **{missing: None}, endpoint_url="")
    (asked,) = script.asked
    assert asked.startswith(question)


def test_wrong_answers_are_asked_for_again_with_the_reason(desk: Desk) -> None:
    _, script = desk.init(
        "/not/there/chat.db", str(desk.passphrase_file), str(desk.database), "Chat Room", "chat",
        "relative/dir", "s3://key:pw@bucket", "s3://bucket", "", "/not/there/kit", str(desk.path / "kit"),
        name=None, database=None, target=None, kit=None,
    )  # fmt: skip
    assert len(script.asked) == 11
    for reason in ("no directory /not/there", "not a SQLite database", "a name has 1 to 64",
                   "must start with file:/// or s3://", "must not contain credentials"):  # fmt: skip
        assert reason in desk.said
    assert "pw" not in desk.said


def test_two_different_passphrases_are_asked_for_again(desk: Desk) -> None:
    made, _ = desk.init("one thing", "another", PASSPHRASE, PASSPHRASE, passphrase_file=None)
    assert "two different passphrases" in desk.said
    unprotect(read(made)[2].protected_identity, PASSPHRASE)


def test_enter_makes_a_passphrase_that_is_shown_once(desk: Desk) -> None:
    made, _ = desk.init("", passphrase_file=None)
    (passphrase,) = [
        line.strip() for line in desk.said.splitlines() if line.count("-") == 4 and len(line) == 33
    ]
    assert desk.said.count(passphrase) == 1
    unprotect(read(made)[2].protected_identity, passphrase)
    for path in desk.path.iterdir():
        assert passphrase not in path.read_text()


def test_a_passphrase_is_not_shown_where_nothing_was_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_files: object) -> None:
        raise ConfigError("disk full")

    monkeypatch.setattr(module, "create_all", full)
    desk.refused(ConfigError, "", passphrase_file=None)
    assert "passphrase" not in desk.said


def test_a_short_passphrase_is_remarked_on(desk: Desk) -> None:
    desk.passphrase_file.write_text("secret")
    desk.init()
    assert "note: the passphrase is shorter than 12 characters" in desk.said
    assert "secret" not in desk.said


def test_what_to_do_next_is_told(desk: Desk) -> None:
    made, _ = desk.init()
    said = desk.said
    assert "Move the recovery kit to another place" in said
    assert "recover.py is worth keeping with the kit" in said
    assert f"syncd run --config {made.config}" in said
    assert f"syncd restore chat --config {made.config} --identity {made.kit} --to FILE" in said
    assert "credentials for the bucket" in said
    assert "chown" not in said


def test_paths_in_commands_are_quoted_and_never_markup(desk: Desk) -> None:
    odd = desk.path / "[red] my files"
    odd.mkdir()
    desk.init(config=odd / "syncd.toml")
    assert f"syncd run --config '{odd}/syncd.toml'" in desk.said


def test_below_etc_the_system_directories_are_used(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SYSTEM", desk.path)
    made, _ = desk.init()
    assert load(made.config).state_dir == Path("/var/lib/syncd")
    assert f"chown syncd:syncd {made.config} {made.signing_key}" in desk.said
    assert "systemctl enable --now syncd" in desk.said


def test_relative_paths_become_absolute(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.path)
    monkeypatch.setenv("HOME", str(desk.path))
    made, _ = desk.init(config=Path("syncd.toml"), database=Path("../chat.db"), kit=Path("~/kit.txt"))
    assert made.config == desk.path / "syncd.toml"
    assert made.kit == desk.path / "kit.txt"
    assert load(made.config).databases["chat"].path == desk.database


def test_a_home_that_does_not_exist(desk: Desk) -> None:
    error = desk.refused(ConfigError, kit=Path("~no-such-user/kit.txt"))
    assert error.message.startswith("~no-such-user/kit.txt: ")


def test_a_link_to_the_database_stays_a_link(desk: Desk, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(desk.database)
    made, _ = desk.init(database=link)
    assert load(made.config).databases["chat"].path == link


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/var/backups/syncd/", "file:///var/backups/syncd"),
        ("/var/my backups", "file:///var/my%20backups"),
        ("file:///var/backups", "file:///var/backups"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_targets(desk: Desk, target: str, url: str) -> None:
    made, _ = desk.init(target=target)
    config, _, kit = read(made)
    assert [entry.url for entry in config.targets.values()] == [kit.target_url] == [url]


@pytest.mark.parametrize(
    "target", ["", "backups", "./backups", "ftp://h/x", "file://x", "s3://", "/", "/a/../b"]
)
def test_targets_that_are_none(desk: Desk, target: str) -> None:
    assert str(desk.refused(ConfigError, target=target)).startswith("target: ")


@pytest.mark.parametrize("name", ["", "Chat", "a/b", "../x", "ä"])
def test_names_that_are_none(desk: Desk, name: str) -> None:
    assert "a name has 1 to 64" in str(desk.refused(ConfigError, name=name))


def test_endpoints_are_checked_and_belong_to_buckets(desk: Desk) -> None:
    error = desk.refused(ConfigError, endpoint_url="localhost:9000")
    assert error.message.startswith("endpoint: 'localhost:9000' - must be http://host[:port]")
    error = desk.refused(ConfigError, endpoint_url="http://localhost:9000", target="/var/backups")
    assert "is a directory, and has no endpoint" in error.message


def test_an_endpoint_is_asked_for_where_a_bucket_was_the_answer(desk: Desk) -> None:
    made, script = desk.init("s3://bucket", "minio:9000", "http://minio:9000", target=None)
    assert len(script.asked) == 3
    config, _, kit = read(made)
    assert config.targets["bucket"].endpoint_url == kit.endpoint_url == "http://minio:9000"


@pytest.mark.parametrize("name", ["syncd.toml", "signing.key", "kit.txt"])
def test_nothing_is_ever_overwritten(desk: Desk, name: str) -> None:
    (desk.path / name).write_text("theirs")
    error = desk.refused(WouldOverwrite)
    assert str(desk.path / name) in error.message
    assert (desk.path / name).read_text() == "theirs"


@pytest.mark.parametrize("name", ["syncd.toml", "signing.key"])
def test_that_is_said_before_the_first_question(desk: Desk, name: str) -> None:
    (desk.path / name).touch()
    script = Script()
    with pytest.raises(WouldOverwrite):
        init(desk.path / "syncd.toml", answers=script, console=Console(file=desk.output))
    assert script.asked == []


def test_a_second_run_is_refused(desk: Desk) -> None:
    made, _ = desk.init()
    before = made.config.read_bytes(), made.signing_key.read_bytes(), made.kit.read_bytes()
    desk.refused(WouldOverwrite)
    assert (made.config.read_bytes(), made.signing_key.read_bytes(), made.kit.read_bytes()) == before


def test_the_kit_needs_a_name_of_its_own(desk: Desk) -> None:
    assert "same name" in str(desk.refused(ConfigError, kit=desk.path / "signing.key"))


def test_the_directory_must_be_there(desk: Desk) -> None:
    error = desk.refused(ConfigError, config=desk.path / "no" / "syncd.toml")
    assert f"there is no directory {desk.path / 'no'}" in error.message


@pytest.mark.parametrize("create", [True, False])
def test_a_database_may_come_later(desk: Desk, tmp_path: Path, create: bool) -> None:
    later = tmp_path / "later.db"
    if create:
        later.touch()
    desk.init(database=later)
    assert f"note: {later} is missing or empty" in desk.said


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"SQLite format 2\0" + bytes(84)), "not a SQLite database"),
        (lambda path: path.write_bytes(b"SQLite"), "not a SQLite database"),
        (lambda path: path.write_bytes(os.urandom(4096)), "not a SQLite database"),
        (Path.mkdir, "not a file"),
        (fifo, "not a file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_database_is_refused(
    desk: Desk, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "other.db"
    make(path)
    error = desk.refused(SourceError, database=path)
    assert str(path) in error.message
    assert reason in error.message
    assert error.exit_code == 11


def test_a_database_in_no_directory_is_a_mistake(desk: Desk) -> None:
    assert "there is no directory /not/there" in str(
        desk.refused(SourceError, database=Path("/not/there/chat.db"))
    )


def test_a_database_that_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # As root, every file can be read: so the refusal is made up.
    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "_head_of", refuse)
    assert "Permission denied (syncd needs to read it)" in str(desk.refused(SourceError))


def test_the_database_is_only_read(desk: Desk) -> None:
    def state() -> tuple[bytes, int, list[Path]]:
        beside = sorted(desk.database.parent.iterdir())
        return desk.database.read_bytes(), desk.database.stat().st_mtime_ns, beside

    before = state()
    desk.init()
    assert state() == before


def test_advice_is_given(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = desk.path / "inside.db"
    desk.init(database=inside)
    assert "note: state_dir: " in desk.said
    assert "quantum" not in desk.said
    for path in desk.path.iterdir():
        path.unlink()
    x25519 = Identity.generate(Kem.X25519)
    monkeypatch.setattr(module, "Identity", type("Old", (), {"generate": staticmethod(lambda: x25519)}))
    desk.init()
    assert "note: this machine has no ML-KEM" in desk.said


# On a terminal
