"""Recipients of a configuration: spelled out, in PEM files, in certificates."""

import datetime as dt
from pathlib import Path

import pytest

from syncd.config import parse
from syncd.config.model import Config
from syncd.config.recipients import expired, read_recipient, read_recipients
from syncd.envelope.kem import Kem
from syncd.errors import ConfigError
from syncd.host import doubts
from tests.envelope.test_rsa import OTHER, PEM, certificate, public_pem

UNTIL = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
UNTIL_MS = round(UNTIL.timestamp() * 1000)


def config(*recipients: str, database: Path = Path("/srv/chat.db")) -> Config:
    return parse(
        {
            "keys": {"recipients": list(recipients)},
            "targets": {"local": {"url": "file:///backups"}},
            "databases": {"chat": {"path": str(database)}},
        }
    )


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "board.pem"
    path.write_bytes(public_pem(OTHER))
    path.chmod(0o644)
    return path


def test_a_spelling_and_a_file_stand_side_by_side(recipient: str, pem: Path) -> None:
    spelled, filed = read_recipients(config(recipient, str(pem)).keys)
    assert (spelled.text, spelled.until_ms) == (recipient, None)
    assert (filed.text, filed.recipient.kem, filed.until_ms) == (str(pem), Kem.RSA, None)
    assert read_recipient(filed.recipient.to_text()).recipient == filed.recipient


def test_the_same_key_twice_is_found_however_it_is_given(recipient: str, pem: Path) -> None:
    twin = read_recipient(str(pem)).recipient.to_text()
    with pytest.raises(ConfigError, match=r"recipients.2: is the same key as keys.recipients.1"):
        read_recipients(config(recipient, str(pem), twin).keys)


def test_a_certificate_that_is_over_is_a_doubt_and_still_used(pem: Path) -> None:
    pem.write_bytes(certificate(OTHER, UNTIL))
    listed = read_recipients(config(str(pem)).keys)
    assert expired(listed, UNTIL_MS - 1) == []
    (sentence,) = expired(listed, UNTIL_MS)
    assert str(pem) in sentence
    assert "2026-01-31" in sentence
    assert doubts(config(str(pem)), UNTIL_MS) == [sentence]


def test_a_file_that_others_can_change_is_refused(pem: Path) -> None:
    pem.chmod(0o664)
    with pytest.raises(ConfigError, match="others can change it"):
        read_recipients(config(str(pem)).keys)


@pytest.mark.parametrize(
    ("raw", "reason"), [(b"", "no public key"), (PEM, "private key"), (b"\xff", "no public key")]
)
def test_a_file_without_a_public_key_is_refused(pem: Path, raw: bytes, reason: str) -> None:
    pem.write_bytes(raw)
    with pytest.raises(ConfigError, match=reason):
        read_recipients(config(str(pem)).keys)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_recipients(config(str(tmp_path / "none.pem")).keys)
    with pytest.raises(ConfigError, match="Is a directory"):
        read_recipients(config(str(tmp_path)).keys)
    with pytest.raises(ConfigError, match="this is no recipient"):
        read_recipient("board.pem")


def test_a_database_that_everybody_can_read_is_a_doubt(
    recipient: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "chat.db"
    database.touch(mode=0o600)
    monkeypatch.setattr(Path, "parents", property(lambda path: [path.parent]))  # not those of the test
    tmp_path.chmod(0o755)
    assert doubts(config(recipient, database=database), 0) == []
    database.chmod(0o644)
    (sentence,) = doubts(config(recipient, database=database), 0)
    assert sentence.endswith(f"run: chmod 600 {database}")
    tmp_path.chmod(0o750)
    assert doubts(config(recipient, database=database), 0) == [], "nobody gets there"
    assert doubts(config(recipient, database=tmp_path / "none.db"), 0) == []
