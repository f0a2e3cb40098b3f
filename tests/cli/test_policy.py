"""What `syncd policy` prints, and what it says where there is nothing to print."""

import json
from pathlib import Path

import pytest

from syncd.access import profile_of
from syncd.cli.policy import run_policy
from syncd.config import load
from syncd.errors import ConfigError
from syncd.store.iam import NOTES, Role, bucket_policy, role_policy
from tests.support.fakes import IDENTITY

CONFIG = """
state_dir = "/var/lib/syncd"
[keys]
signing_key = "/etc/syncd/signing.key"
recipients = ["{recipient}"]
[targets.bucket]
url = "s3://vault/hosts/a"
profile = "backup"
[targets.bucket.pruner]
profile = "deletes"
[targets.whole]
url = "s3://all"
[targets.local]
url = "file:///var/backups/syncd"
[databases.chat]
path = "/srv/chat.db"
[databases.notes]
path = "/srv/notes.db"
targets = ["whole"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "syncd.toml"
    path.write_text(CONFIG.format(recipient=IDENTITY.recipient.to_text()))
    return path


@pytest.mark.parametrize("role", Role)
def test_json_has_it_all(config: Path, capsys: pytest.CaptureFixture[str], role: Role) -> None:
    run_policy(config, role, "bucket", only=None, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "iam": role_policy(role, "vault", "hosts/a/", ["chat"]),
        "bucket": bucket_policy("vault", "hosts/a/"),
        "notes": list(NOTES),
    }


@pytest.mark.parametrize("only", ["iam", "bucket"])
def test_only_one_can_be_piped(config: Path, capsys: pytest.CaptureFixture[str], only: str) -> None:
    run_policy(config, Role.WRITER, "whole", only=only, as_json=False)
    expected = {
        "iam": role_policy(Role.WRITER, "all", "", ["chat", "notes"]),
        "bucket": bucket_policy("all", ""),
    }
    assert json.loads(capsys.readouterr().out) == expected[only]


def test_people_get_the_notes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_policy(config, Role.WRITER, "bucket", only=None, as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("# What the writer of bucket may do")
    assert all(f"- {note}" in out for note in NOTES)


@pytest.mark.parametrize(
    ("target", "words"), [("other", "there is no target 'other'"), ("local", "local is a directory")]
)
def test_where_there_is_nothing_to_print(config: Path, target: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        run_policy(config, Role.WRITER, target, only=None, as_json=False)
    assert caught.value.hint


def test_whose_profile_a_role_uses(config: Path) -> None:
    targets = load(config).targets
    assert [profile_of(targets["bucket"], role) for role in Role] == ["backup", "deletes", "backup"]
    assert [profile_of(targets["whole"], role) for role in Role] == ["", "", ""]


def test_a_directory_has_no_roles(config: Path) -> None:
    config.write_text(config.read_text() + '[targets.local.pruner]\nprofile = "x"\n')
    with pytest.raises(ConfigError, match=r"targets\.local\.pruner.*is for s3:// targets only"):
        load(config)
