"""A configured syncd in a directory of its own, and what a test asks about it.

The application is the test itself, through plain sqlite3, or `syncd.cli.chatapp`; syncd is always another
process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from rich.console import Console

from syncd.cli.init import init
from syncd.config import load
from syncd.envelope.identity import Argon2Params
from syncd.envelope.kit import parse_kit
from syncd.errors import StateError
from syncd.format.names import GENERATIONS
from syncd.model import Digest, format_time
from syncd.state import Status, TargetState, read_status
from tests.e2e.process import poll
from tests.support import oracle

PASSPHRASE = "planted-passphrase-correct-horse"
CHEAP = Argon2Params(memory_kib=64, iterations=1, lanes=1)


@dataclass(slots=True)
class Site:
    """Configuration, keys and kit in `directory`; the databases and targets may be anywhere.

    `targets` are the bodies of their tables.
    """

    directory: Path
    databases: Mapping[str, Path]
    targets: Mapping[str, str] = field(default_factory=dict)
    max_delay: str = "50ms"
    max_bytes: str = "64KiB"
    drain: str = "10s"
    recipient: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.passphrase.chmod(0o600)
        if not self.targets:
            self.targets = {"local": f'url = "{(self.directory / "archive").as_uri()}"'}
        init(
            self.config,
            name=next(iter(self.databases)),
            database=self.directory / "not-yet.db",
            target=(self.directory / "archive").as_uri(),
            kit=self.kit,
            passphrase_file=self.passphrase,
            console=Console(file=StringIO()),
            params=CHEAP,
        )
        self.recipient = load(self.config).keys.recipients[0]
        self.configure()

    @property
    def config(self) -> Path:
        return self.directory / "syncd.toml"

    @property
    def kit(self) -> Path:
        return self.directory / "kit.txt"

    @property
    def passphrase(self) -> Path:
        return self.directory / "passphrase"

    @property
    def signing_key(self) -> Path:
        return self.directory / "signing.key"

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    @property
    def kit_options(self) -> tuple[object, ...]:
        return ("--identity", self.kit, "--passphrase-file", self.passphrase)

    def configure(self, extra: str = "") -> None:
        """Write the configuration."""
        tables = [
            f'state_dir = "{self.state_dir}"\n{extra}',
            f'[batch]\nmax_delay = "{self.max_delay}"\nmax_bytes = "{self.max_bytes}"',
            '[capture]\npoll_interval = "50ms"',
            f'[stop]\ndrain = "{self.drain}"',
            f'[keys]\nsigning_key = "{self.signing_key}"\nrecipients = ["{self.recipient}"]',
            *(f"[targets.{name}]\n{body}" for name, body in self.targets.items()),
            *(f'[databases.{name}]\npath = "{path}"' for name, path in self.databases.items()),
        ]
        self.config.write_text("\n\n".join(tables) + "\n")

    def state(self, name: str = "chat") -> Status | None:
        """A look from outside, as `syncd status` takes it."""
        try:
            return read_status(self.state_dir / name / "state.db")
        except StateError:
            return None

    def targets_now(self, name: str = "chat") -> tuple[TargetState, ...]:
        """How the targets are."""
        status = self.state(name)
        return status.targets if status else ()

    def stored(self, target: str, name: str = "chat") -> int:
        """The newest seq that the target has; -1 before the first."""
        found = [t.stored for t in self.targets_now(name) if t.name == target]
        return -1 if not found or found[0] is None else found[0]

    def wait_stored(self, truth: Path, *targets: str, name: str = "chat") -> Status:
        """Wait until captured and stored is what `truth`, a folded copy, has."""
        wanted = digest_of(truth)

        def there() -> Status | None:
            status = self.state(name)
            if status is None or status.chain is None or status.chain.digest != wanted:
                return None
            seq = status.chain.seq
            return status if all(self.stored(t, name) >= seq for t in targets or self.targets) else None

        return poll(there, f"{name} was stored on {targets or tuple(self.targets)}")

    def generation(self, archive: Path | None = None, name: str = "chat") -> Path:
        """The only generation of a database in a directory target."""
        (found,) = ((archive or self.archive) / name / GENERATIONS).iterdir()
        return found

    def move_kit(self, target: Path, to: Path) -> Path:
        """A kit like ours that names another directory."""
        text = self.kit.read_text()
        to.write_text(text.replace(parse_kit(text).target_url, target.as_uri()))
        return to


def digest_of(database: Path) -> Digest:
    """The digest that a chain which stands at this file has."""
    raw = database.read_bytes()
    size = int.from_bytes(raw[16:18]) if raw[16:18] != b"\0\1" else 65536
    pages = ((n + 1, raw[n * size : (n + 1) * size]) for n in range(len(raw) // size))
    return Digest().replace(added=pages)


def objects(directory: Path) -> dict[str, bytes]:
    """Everything in a directory target."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@dataclass(frozen=True, slots=True)
class Point:
    """A boundary that was stored: its seq, its time, and the database then."""

    seq: int
    captured_ms: int
    truth: bytes

    @property
    def time(self) -> str:
        return format_time(self.captured_ms)


def keep_truth(database: Path, scratch: Path, name: str) -> Path:
    """A folded copy of the database, kept under a name of its own."""
    scratch.mkdir(exist_ok=True)
    return oracle.fold(database, scratch).rename(scratch / name)
