import os
import re
import threading
from pathlib import Path

import pytest

from syncd.config.passphrase import make_passphrase, read_passphrase
from syncd.errors import ConfigError


def test_what_is_made_is_long_grouped_and_new_each_time() -> None:
    made = [make_passphrase() for _ in range(100)]
    assert len(set(made)) == 100
    for passphrase in made:
        assert re.fullmatch(r"(?:[0-9a-hjkmnp-tv-z]{5}-){4}[0-9a-hjkmnp-tv-z]{5}", passphrase)
    # 32 signs at 25 places are 125 bits.
    assert len(set("".join(made)) - {"-"}) == 32


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"correct horse", "correct horse"),
        (b"correct horse\n", "correct horse"),
        (b"correct horse\r\n", "correct horse"),
        (b" kept \nnot read\n", " kept "),
        ("größe\n".encode(), "größe"),
    ],
)
def test_the_first_line_without_its_break(tmp_path: Path, content: bytes, passphrase: str) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    path.chmod(0o600)
    assert read_passphrase(path) == passphrase


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its first line is empty"),
        (b"\nSECRET", "its first line is empty"),
        (b"SECRET\xff", "not UTF-8 text"),
        (b"SECRET" * 1000, "longer than 4096 bytes"),
    ],
)
def test_what_is_no_passphrase_is_refused_and_not_shown(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_passphrase(path)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text("SECRET")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can reach it") as caught:
        read_passphrase(path)
    assert caught.value.hint == f"run: chmod 600 {path}"
    assert "SECRET" not in str(caught.value)


def test_a_pipe_needs_no_mode(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o644)
    writer = threading.Thread(target=path.write_text, args=("correct horse\n",))
    writer.start()
    assert read_passphrase(path) == "correct horse"
    writer.join()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        read_passphrase(tmp_path / "passphrase")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_passphrase(tmp_path)
