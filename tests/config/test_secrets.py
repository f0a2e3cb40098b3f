"""Where secrets come from, and what is refused for being open to others."""

from pathlib import Path

import pytest

from syncd.config import check_unwritable, parse
from syncd.config.model import Keys
from syncd.config.passphrase import read_passphrase
from syncd.config.secrets import check_secret, read_signing_key, secret_file
from syncd.envelope.keys import SigningKey
from syncd.errors import ConfigError

KEY = SigningKey.generate()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("SYNCD_SIGNING_KEY_FILE", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "signing.key", 0o600)


def written(path: Path, mode: int, text: str = KEY.to_text()) -> Path:
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def keys(recipient: str, signing_key: object) -> Keys:
    raw = {
        "keys": {"signing_key": str(signing_key), "recipients": [recipient]},
        "targets": {"local": {"url": "file:///backups"}},
        "databases": {"chat": {"path": "/srv/chat.db"}},
    }
    return parse(raw).keys


def test_a_private_file(recipient: str, file: Path) -> None:
    assert read_signing_key(keys(recipient, file)) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_reach_is_refused_with_what_mends_it(
    recipient: str, file: Path, mode: int
) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigError, match="others can reach it") as caught:
        read_signing_key(keys(recipient, file))
    assert caught.value.hint == f"run: chmod 600 {file}"


def test_a_credential_of_systemd(
    recipient: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for mode in (0o400, 0o440):  # the group's bit is the mask of an access list
        file.chmod(mode)
        assert read_signing_key(keys(recipient, "credential:signing.key")) == KEY
    for mode in (0o444, 0o460):
        file.chmod(mode)
        with pytest.raises(ConfigError, match="others can reach it"):
            read_signing_key(keys(recipient, "credential:signing.key"))


def test_a_credential_without_systemd_is_explained(recipient: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no \$CREDENTIALS_DIRECTORY") as caught:
        read_signing_key(keys(recipient, "credential:signing.key"))
    assert "LoadCredential" in caught.value.hint


@pytest.mark.parametrize("name", ["", "../signing.key", "a/b", ".hidden", "a b"])
def test_a_credential_is_a_plain_name(recipient: str, name: str) -> None:
    with pytest.raises(ConfigError, match="a credential's name"):
        keys(recipient, f"credential:{name}")


def test_a_variable_names_the_file(recipient: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = written(tmp_path / "elsewhere", 0o600)
    monkeypatch.setenv("SYNCD_SIGNING_KEY_FILE", str(elsewhere))
    assert read_signing_key(keys(recipient, "/etc/syncd/none")) == KEY
    elsewhere.chmod(0o644)
    with pytest.raises(ConfigError, match="others can reach it"):
        read_signing_key(keys(recipient, "/etc/syncd/none"))


@pytest.mark.parametrize(
    "text", ["", "syncd-signing-AAAA", KEY.verify_key.to_text()], ids=["empty", "short", "public"]
)
def test_what_is_no_key_is_not_shown(recipient: str, file: Path, text: str) -> None:
    written(file, 0o600, text)
    with pytest.raises(ConfigError, match="is not a signing key") as caught:
        read_signing_key(keys(recipient, file))
    assert text == "" or text not in str(caught.value)


def test_a_key_that_is_not_there_or_no_file(recipient: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_signing_key(keys(recipient, tmp_path / "none"))
    (tmp_path / "directory").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_signing_key(keys(recipient, tmp_path / "directory"))


def test_a_passphrase_may_be_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    written(tmp_path / "drill", 0o400, "correct horse")
    assert read_passphrase(Path("credential:drill")) == "correct horse"
    assert check_secret(Path("credential:drill")) == secret_file(Path("credential:drill"))


@pytest.mark.parametrize(("mode", "fine"), [(0o640, True), (0o644, True), (0o664, False), (0o646, False)])
def test_a_configuration_that_others_can_change_is_refused(file: Path, mode: int, fine: bool) -> None:
    file.chmod(mode)
    if fine:
        check_unwritable(file)
        return
    with pytest.raises(ConfigError, match="others can change it") as caught:
        check_unwritable(file)
    assert caught.value.hint == f"run: chmod go-w {file}"
