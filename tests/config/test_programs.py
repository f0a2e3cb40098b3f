"""Programs that print secrets: run without a shell, and nothing they print is repeated."""

import shlex
import sys

import pytest

from syncd.config import programs
from syncd.config.passphrase import ask_passphrase
from syncd.config.programs import run_program
from syncd.errors import ConfigError, IdentityError


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_what_it_prints_is_what_comes_back() -> None:
    code = "import sys; sys.stdout.write(sys.stdin.read()[::-1])"
    assert run_program("--x", python(code), b"abc") == b"cba"


def test_there_is_no_shell() -> None:
    assert ask_passphrase("echo $HOME; `id`") == "$HOME; `id`"


def test_the_passphrase_is_the_first_line() -> None:
    assert ask_passphrase(python(r"print('correct horse \r\nsecond')")) == "correct horse "


@pytest.mark.parametrize("command", ["", "   ", "'unclosed"])
def test_what_is_no_command(command: str) -> None:
    with pytest.raises(ConfigError, match="this is no command"):
        run_program("--x", command)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="--x: /no/such cannot be run: No such file"):
        run_program("--x", "/no/such program")


def test_a_program_that_fails_is_not_quoted() -> None:
    with pytest.raises(IdentityError, match="failed with exit code 3") as caught:
        run_program("--x", python("print('SECRET'); raise SystemExit(3)"))
    assert "SECRET" not in str(caught.value)


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_PATIENCE_SECONDS", 0.2)
    with pytest.raises(IdentityError, match="did not end"):
        run_program("--x", python("import time; time.sleep(60)"))


@pytest.mark.parametrize("code", ["print()", "pass", "import os; os.write(1, b'\\xff')", "print('x' * 5000)"])
def test_what_is_no_passphrase(code: str) -> None:
    with pytest.raises(ConfigError, match="what --passphrase-command prints"):
        ask_passphrase(python(code))
