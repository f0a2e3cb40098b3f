import io
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from syncd.cli.init import Made, init
from syncd.config import Config, load
from syncd.envelope.identity import Argon2Params
from syncd.envelope.keys import SigningKey
from syncd.envelope.kit import Kit, parse_kit
from syncd.errors import SyncdError

PASSPHRASE = "correct horse battery staple"
CHEAP = Argon2Params(memory_kib=64, iterations=1, lanes=1)
NOW = 1_795_428_000_000


class FrozenClock:
    def now_ms(self) -> int:
        return NOW

    def monotonic(self) -> float:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


class Script:
    """Answers in order; what is empty takes the default. Remembers what was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def ask(self, question: str, default: str | None) -> str:
        self.asked.append(question)
        answer = self.answers.pop(0) or default
        assert answer is not None, "a terminal would ask again"
        return answer

    def ask_secret(self, question: str) -> str:
        self.asked.append(question)
        return self.answers.pop(0)


class Desk:
    """A directory with a database and a passphrase file, and `init` with all of its arguments."""

    def __init__(self, path: Path) -> None:
        self.path = path / "desk"
        self.path.mkdir()
        self.output = io.StringIO()
        self.database = path / "chat.db"
        with sqlite3.connect(self.database) as connection:
            connection.execute("CREATE TABLE message (body)")
        connection.close()
        self.passphrase_file = path / "passphrase"
        self.passphrase_file.write_text(PASSPHRASE + "\n")
        self.passphrase_file.chmod(0o600)
        self.arguments: dict[str, Any] = {
            "name": "chat",
            "database": self.database,
            "target": "s3://bucket/prefix/",
            "kit": self.path / "kit.txt",
            "passphrase_file": self.passphrase_file,
        }

    def init(self, *answers: str, config: Path | None = None, **changes: Any) -> tuple[Made, Script]:
        script = Script(*answers)
        made = init(
            config or self.path / "syncd.toml",
            answers=script,
            console=Console(file=self.output, width=80),
            clock=FrozenClock(),
            params=CHEAP,
            **(self.arguments | changes),
        )
        assert script.answers == []
        return made, script

    def refused(self, error: type[SyncdError], *answers: str, **changes: Any) -> SyncdError:
        """The error; nothing was written."""
        before = sorted(self.path.iterdir())
        with pytest.raises(error) as caught:
            self.init(*answers, **changes)
        assert sorted(self.path.iterdir()) == before
        assert "\n" not in str(caught.value)
        return caught.value

    @property
    def said(self) -> str:
        return self.output.getvalue()


def read(made: Made) -> tuple[Config, SigningKey, Kit]:
    return load(made.config), SigningKey.parse(made.signing_key.read_text()), parse_kit(made.kit.read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
