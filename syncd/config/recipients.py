"""The recipients that a configuration names: spelled out, or in PEM files.

- A file that somebody else can change is refused: who can replace it can read the archive.
- A certificate that is over still works. Its key does not get weaker overnight, and an archive without its
  recipient is worth nothing; so that is a doubt, not an error.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.config.load import check_unwritable
from syncd.config.model import Keys
from syncd.envelope.keys import Recipient
from syncd.envelope.pem import PublicPem, read_public
from syncd.errors import ConfigError, IdentityError
from syncd.model import format_time

_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """A recipient as the configuration has it; `until_ms` is the end of its certificate."""

    text: str
    recipient: Recipient
    until_ms: int | None = None


def read_recipients(keys: Keys) -> tuple[Listed, ...]:
    """Every recipient, in order. Raises ConfigError, also where two are the same key."""
    listed = tuple(read_recipient(text) for text in keys.recipients)
    seen: dict[bytes, int] = {}
    for index, each in enumerate(listed):
        first = seen.setdefault(each.recipient.fingerprint, index)
        if first != index:
            raise ConfigError(f"keys.recipients.{index}: is the same key as keys.recipients.{first}")
    return listed


def read_recipient(text: str) -> Listed:
    """One recipient, from its spelling or from the file at an absolute path. Raises ConfigError."""
    if not text.startswith("/"):
        try:
            return Listed(text, Recipient.parse(text))
        except IdentityError as e:
            raise ConfigError(f"this is no recipient: {e.message}", hint=e.hint) from e
    path = Path(text)
    check_unwritable(path)
    read = read_public_file(path)
    return Listed(text, read.recipient, read.until_ms)


def read_public_file(path: Path) -> PublicPem:
    """The public key, or certificate, in a PEM file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES)
        return read_public(raw)
    except OSError as e:
        raise ConfigError(f"recipient {path}: cannot be read: {e.strerror}") from e
    except IdentityError as e:
        raise ConfigError(f"recipient {path}: {e.message}", hint=e.hint) from e


def expired(listed: tuple[Listed, ...], now_ms: int) -> list[str]:
    """A sentence for each certificate that is over."""
    return [
        f"recipient {each.text}: its certificate ended {format_time(each.until_ms)}; its key is still used"
        for each in listed
        if each.until_ms is not None and each.until_ms <= now_ms
    ]
