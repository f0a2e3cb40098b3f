"""`syncd init`: a configuration, the daemon's signing key and a recovery kit, from a few answers.

- It asks for what it was not given, and nothing else. A wrong answer is asked for again; a wrong argument
  ends the command.
- It writes three files or none, and never over a file that is there (see `config.files`).
- The identity exists in memory only, and leaves it protected by the passphrase, in the kit. A passphrase
  that is made here is shown once, after the files are written.
- The application's database is read for sixteen bytes, and may be missing: applications create it later.
"""

import shlex
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import typer
from rich.console import Console

from syncd.clock import Clock, SystemClock
from syncd.config import parse, warnings
from syncd.config.files import NewFile, check_new, create_all
from syncd.config.model import check_endpoint, check_name, check_path, check_url
from syncd.config.passphrase import SHORT, make_passphrase, read_passphrase
from syncd.config.problems import show
from syncd.config.template import Setup, TargetSetup, render
from syncd.config.url import DirectoryUrl
from syncd.envelope.identity import Argon2Params, protect
from syncd.envelope.keys import Identity, SigningKey
from syncd.envelope.kit import Kit, render_kit
from syncd.errors import ConfigError, SourceError, SyncdError

_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SYSTEM: Final = Path("/etc")
_RECOVER: Final = Path(__file__).parents[1] / "recover.py"
_SYSTEM_STATE: Final = Path("/var/lib/syncd")
_T = TypeVar("_T")


class Answers(Protocol):
    """Where answers come from: a terminal, or a test. Both raise ConfigError where there are none."""

    def ask(self, question: str, default: str | None) -> str:
        """One line; where the answer is empty, `default`, or the question again if there is none."""
        ...

    def ask_secret(self, question: str) -> str:
        """One line that is not echoed; may be empty."""
        ...


class TerminalAnswers:
    """Asks on the terminal."""

    def ask(self, question: str, default: str | None) -> str:
        """See Answers."""
        return _prompt(question, default, hide=False)

    def ask_secret(self, question: str) -> str:
        """See Answers."""
        return _prompt(question, "", hide=True)


@dataclass(frozen=True, slots=True)
class Made:
    """What was written, and where."""

    config: Path
    signing_key: Path
    kit: Path
    state_dir: Path


def init(
    config: Path,
    *,
    name: str | None = None,
    database: Path | None = None,
    target: str | None = None,
    endpoint_url: str | None = None,
    kit: Path | None = None,
    passphrase_file: Path | None = None,
    answers: Answers | None = None,
    console: Console | None = None,
    clock: Clock | None = None,
    params: Argon2Params | None = None,
) -> Made:
    """Set up one database with one target. An endpoint is asked for only where the target was asked for.

    Raises WouldOverwrite (a file is there), SourceError (not a SQLite database), ConfigError (anything else).
    """
    out = _Output(console or Console())
    asker = _Asker(answers or TerminalAnswers(), out)
    config = _absolute(config)
    signing_key = config.parent / "signing.key"
    # Before any question: nobody should answer five of them only to hear this.
    check_new(config)
    check_new(signing_key)

    path = asker.answer(_text(database), "The application's SQLite database", None, _check_database)
    if not path.exists() or not path.stat().st_size:
        out.note(f"{path} is missing or empty; syncd will wait for the application to create it")
    name = asker.answer(name, "A name for it", "chat", _checked("name", check_name))
    url = asker.answer(
        target,
        "Where to store it: file:///DIRECTORY or s3://BUCKET/PREFIX",
        "file:///var/backups/syncd",
        _checked("target", _check_target),
    )
    if endpoint_url is None and (target is not None or url.startswith("file:")):
        endpoint_url = ""
    endpoint_url = asker.answer(
        endpoint_url, "The server's endpoint (Enter: Amazon's)", "", _checked("endpoint", check_endpoint)
    )
    if endpoint_url and url.startswith("file:"):
        raise ConfigError(f"target: {url} is a directory, and has no endpoint")
    default_kit = str(config.parent / f"recovery-kit-{name}.txt")
    kit = asker.answer(_text(kit), "Where to write the recovery kit", default_kit, _check_kit)
    passphrase, made_up = asker.passphrase(passphrase_file)

    identity, signing = Identity.generate(), SigningKey.generate()
    setup = Setup(
        state_dir=_SYSTEM_STATE if config.is_relative_to(_SYSTEM) else config.parent / "syncd-state",
        signing_key=signing_key,
        recipients=(identity.recipient.to_text(),),
        targets={"local" if url.startswith("file:") else "bucket": TargetSetup(url, endpoint_url)},
        databases={name: path},
    )
    text = render(setup)
    checked = parse(tomllib.loads(text), name=str(config))
    rendered_kit = render_kit(
        Kit(
            database=name,
            target_url=url,
            endpoint_url=endpoint_url,
            verify_key=signing.verify_key,
            recipient=identity.recipient,
            protected_identity=protect(identity, passphrase, params),
            created_ms=(clock or SystemClock()).now_ms(),
        )
    )
    create_all(
        [
            NewFile(kit, rendered_kit.encode(), 0o600),
            NewFile(signing_key, f"{signing.to_text()}\n".encode(), 0o600),
            NewFile(config, text.encode(), 0o640),
        ]
    )
    if made_up:
        out.passphrase(passphrase)
    for warning in warnings(checked):
        out.note(warning)
    if not identity.post_quantum:
        out.note("this machine has no ML-KEM: the key is X25519 alone, which a quantum computer could break")
    made = Made(config, signing_key, kit, setup.state_dir)
    out.next_steps(made, name, url)
    return made


class _Output:
    """What the user reads. Values are never markup: a path may have brackets."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self.line(f"note: {text}", "yellow")

    def passphrase(self, passphrase: str) -> None:
        self.line("\nThe passphrase of the recovery kit, shown this once:")
        self.line(f"\n    {passphrase}\n", "bold")
        self.line("Write it down now, and keep it apart from the kit.")

    def next_steps(self, made: Made, name: str, url: str) -> None:
        config, kit = shlex.quote(str(made.config)), shlex.quote(str(made.kit))
        self.line()
        self.line(f"configuration   {made.config}")
        self.line(f"signing key     {made.signing_key}")
        self.line(f"recovery kit    {made.kit}")
        self.line(f"state           {made.state_dir} (made when the daemon starts)")
        self.line()
        self.line("Move the recovery kit to another place than this machine, in two copies.", "bold")
        self.line("Without the kit and its passphrase nobody can restore, not even you.")
        self.line(f"A copy of {_RECOVER} is worth keeping with the kit: it restores without syncd.")
        self.line()
        self.line("Next:")
        if url.startswith("s3:"):
            self.line("    give this machine credentials for the bucket (environment, ~/.aws, instance role)")
        if made.config.is_relative_to(_SYSTEM):
            self.line(f"    chown syncd:syncd {config} {shlex.quote(str(made.signing_key))}")
            self.line("    systemctl enable --now syncd")
        else:
            self.line(f"    syncd run --config {config}")
        self.line(f"    syncd status --config {config}")
        self.line(f"    syncd keys check {name} --config {config} --identity {kit}")
        self.line(f"    syncd restore {name} --config {config} --identity {kit} --to FILE")


class _Asker:
    """Takes what was given, and asks for the rest until it is right."""

    def __init__(self, answers: Answers, out: _Output) -> None:
        self._answers = answers
        self._out = out

    def answer(self, given: str | None, question: str, default: str | None, check: Callable[[str], _T]) -> _T:
        if given is not None:
            return check(given)
        while True:
            text = self._answers.ask(question, default)
            try:
                return check(text)
            except SyncdError as error:
                self._out.line(str(error), "red")

    def passphrase(self, file: Path | None) -> tuple[str, bool]:
        """The passphrase, and whether it was made here."""
        if file is not None:
            passphrase = read_passphrase(file)
        else:
            while passphrase := self._answers.ask_secret("Passphrase of the kit (Enter: make a strong one)"):
                if self._answers.ask_secret("The same again") == passphrase:
                    break
                self._out.line("these were two different passphrases", "red")
            else:
                return make_passphrase(), True
        if len(passphrase) < SHORT:
            self._out.note(f"the passphrase is shorter than {SHORT} characters: it can be guessed")
        return passphrase, False


def _prompt(question: str, default: str | None, *, hide: bool) -> str:
    try:
        return str(typer.prompt(question, default=default, hide_input=hide, show_default=bool(default)))
    except typer.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise ConfigError(f"nobody answered: {question}", hint="see syncd init --help") from None
        raise


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _absolute(path: Path) -> Path:
    try:
        path = path.expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error}") from error
    # Links are followed only where `..` has to be taken away: a link may be meant to change later.
    return path.parent.resolve() / path.name if ".." in path.parts else path


def _checked(what: str, check: Callable[[str], _T]) -> Callable[[str], _T]:
    def checked(text: str) -> _T:
        try:
            return check(text)
        except ValueError as error:
            raise ConfigError(f"{what}: {show(what, text)} - {error}") from None

    return checked


def _check_target(text: str) -> str:
    return str(DirectoryUrl(check_path(text))) if text.startswith("/") else check_url(text)


def _check_kit(text: str) -> Path:
    path = _absolute(Path(text))
    check_new(path)
    return path


def _check_database(text: str) -> Path:
    path = _checked("database", check_path)(str(_absolute(Path(text))))
    try:
        head = _head_of(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise SourceError(f"{path}: there is no directory {path.parent}", hint="check the path") from None
        return path
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}", hint="syncd needs to read it") from error
    if head not in {_SQLITE_MAGIC, b""}:
        raise SourceError(
            f"{path}: not a SQLite database", hint="or an encrypted one, which syncd cannot read"
        )
    return path


def _head_of(path: Path) -> bytes:
    # Opening a FIFO would wait for a writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise SourceError(f"{path}: not a file", hint="name the database file itself")
    with path.open("rb") as file:
        return file.read(len(_SQLITE_MAGIC))
