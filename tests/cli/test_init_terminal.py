import pytest
import typer
from typer.testing import CliRunner

from syncd.cli.init import init
from syncd.envelope.identity import unprotect
from syncd.envelope.kit import parse_kit
from syncd.errors import ConfigError
from tests.cli.desk import CHEAP, PASSPHRASE, Desk


def terminal_app(desk: Desk) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def command() -> None:
        init(desk.path / "syncd.toml", params=CHEAP)

    return app


def test_on_a_terminal(desk: Desk) -> None:
    answers = ["", str(desk.database), "", "s3://bucket", "", "", PASSPHRASE, PASSPHRASE]
    result = CliRunner().invoke(terminal_app(desk), input="\n".join([*answers, ""]))
    assert result.exit_code == 0, result.output
    assert PASSPHRASE not in result.output
    assert "A name for it [chat]:" in result.output
    unprotect(parse_kit((desk.path / "recovery-kit-chat.txt").read_text()).protected_identity, PASSPHRASE)


def test_where_nobody_answers_it_says_what_was_asked(desk: Desk) -> None:
    result = CliRunner().invoke(terminal_app(desk), input="")
    assert isinstance(result.exception, ConfigError)
    assert "nobody answered: The application's SQLite database" in str(result.exception)
    assert list(desk.path.iterdir()) == []


def test_an_interrupt_is_an_interrupt(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> str:
        # As typer does it for Ctrl-C.
        abort = typer.Abort()
        abort.__context__ = KeyboardInterrupt()
        raise abort

    monkeypatch.setattr(typer, "prompt", interrupted)
    with pytest.raises(typer.Abort):
        init(desk.path / "syncd.toml")
    assert list(desk.path.iterdir()) == []
