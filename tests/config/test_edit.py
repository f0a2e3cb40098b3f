"""Recipients come and go; nothing else of the file changes."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config import parse
from syncd.config.edit import replace, with_recipients
from syncd.config.template import EXAMPLE, Setup, render
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.errors import ConfigError

HYBRID = Identity.generate().recipient.to_text()
SHORT = [Identity.generate(Kem.X25519).recipient.to_text() for _ in range(3)]
TEXT = """\
# ours
state_dir = "/srv/state"   # on the fast disk

[keys]
# who can restore:
recipients = [
  "{0}",   # Ann
  "{1}",
]
signing_key = '/srv/signing.key'

[targets.local]
url = "file:///backups"
[databases.chat]
path = "/srv/chat.db"
"""


def recipients(text: str) -> tuple[str, ...]:
    return parse(tomllib.loads(text)).keys.recipients


def test_one_comes_at_the_end_and_comments_stay() -> None:
    text = TEXT.format(*SHORT)
    changed = with_recipients(text, [*SHORT[:2], SHORT[2]])
    assert changed == text.replace(f'"{SHORT[1]}",\n', f'"{SHORT[1]}",\n  "{SHORT[2]}",\n')


def test_one_goes_with_its_line() -> None:
    text = TEXT.format(*SHORT)
    changed = with_recipients(text, [SHORT[0]])
    assert changed == text.replace(f'  "{SHORT[1]}",\n', "")


def test_a_hybrid_recipient_is_wrapped_as_init_wraps_it() -> None:
    text = with_recipients(TEXT.format(*SHORT), [*SHORT[:2], HYBRID])
    assert max(len(line) for line in text.splitlines()) <= 110
    assert recipients(text) == (*SHORT[:2], HYBRID)


@pytest.mark.parametrize("every_option", [False, True])
def test_what_init_wrote_is_changed_there_and_back(every_option: bool) -> None:
    setup = Setup(EXAMPLE.state_dir, EXAMPLE.signing_key, (HYBRID,), EXAMPLE.targets, EXAMPLE.databases)
    text = render(setup, every_option=every_option)
    more = with_recipients(text, [HYBRID, SHORT[0], "/etc/syncd/board.pem"])
    assert recipients(more) == (HYBRID, SHORT[0], "/etc/syncd/board.pem")
    assert with_recipients(more, [HYBRID]) == text


@given(st.permutations(range(3)), st.integers(1, 3))
def test_any_choice_is_what_is_read_back(order: list[int], count: int) -> None:
    wanted = [SHORT[i] for i in order[:count]]
    text = with_recipients(TEXT.format(*SHORT), wanted)
    assert set(recipients(text)) == set(wanted)
    assert "# on the fast disk" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keys = 5",
        "[keys]\nrecipients = 5",
        "[keys]\n",
        "[keys\n",
        pytest.param(f'keys = {{ recipients = ["{SHORT[0]}"] }}', id="inline"),
    ],
)
def test_a_file_in_which_they_cannot_be_changed(text: str) -> None:
    with pytest.raises(ConfigError):
        with_recipients(text, [SHORT[0]])


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "link.toml"
    real.write_text(TEXT.format(*SHORT))
    real.chmod(0o640)
    link.symlink_to(real)
    config = replace(link, with_recipients(real.read_text(), [SHORT[2]]))
    assert config.keys.recipients == (SHORT[2],)
    assert recipients(real.read_text()) == (SHORT[2],)
    assert real.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "real.toml"]


def test_a_file_keeps_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    path = tmp_path / "syncd.toml"
    path.write_text(TEXT.format(*SHORT))
    found = path.stat()
    monkeypatch.setattr(os, "geteuid", lambda: found.st_uid + 1)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    replace(path, with_recipients(path.read_text(), [SHORT[0]]))
    assert given == [(found.st_uid, found.st_gid)]


def test_what_would_not_load_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "syncd.toml"
    path.write_text(TEXT.format(*SHORT))
    with pytest.raises(ConfigError, match="must not be empty"):
        replace(path, with_recipients(path.read_text(), []))
    assert path.read_text() == TEXT.format(*SHORT)


def test_a_disk_that_is_full_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "syncd.toml"
    path.write_text(TEXT.format(*SHORT))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        replace(path, with_recipients(path.read_text(), [SHORT[0]]))
    assert path.read_text() == TEXT.format(*SHORT)
    assert list(tmp_path.iterdir()) == [path]
