"""Passphrases: read from a file, or made.

- A file's, or program's, passphrase is its first line, without the line break; all commands read it alike.
- One that is made has 125 bits: 25 characters of Crockford's base32 (no i, l, o, u), in groups of five.
"""

import secrets
from pathlib import Path
from typing import Final

from syncd.config.load import check_private
from syncd.config.programs import run_program
from syncd.config.secrets import secret_file
from syncd.errors import ConfigError

SHORT: Final = 12  # below this many characters, guessing is cheaper than Argon2id makes it look

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_GROUPS: Final = 5
_GROUP: Final = 5
_MAX_BYTES: Final = 4096


def make_passphrase() -> str:
    """A new passphrase, such as 7k2fd-9xq0m-..."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))


def read_passphrase(path: Path) -> str:
    """The passphrase in a file that only its owner can reach, or a credential.

    Raises ConfigError, which never shows any of it.
    """
    file = secret_file(path)
    if file is path and file.is_file():  # a pipe, or a credential, has a protection of its own
        check_private(file, forbidden=0o077)
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"passphrase file {file}: {error.strerror}") from error
    return _first_line(f"passphrase file {file}", raw)


def ask_passphrase(command: str) -> str:
    """The passphrase that a program prints. Raises ConfigError, IdentityError, which never show any of it."""
    return _first_line("what --passphrase-command prints", run_program("--passphrase-command", command))


def _first_line(where: str, raw: bytes) -> str:
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{where}: longer than {_MAX_BYTES} bytes, so not a passphrase")
    try:
        passphrase = raw.decode("utf-8").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError:
        # Without a cause: its message would show the bytes.
        raise ConfigError(f"{where}: not UTF-8 text") from None
    if not passphrase:
        raise ConfigError(f"{where}: its first line is empty")
    return passphrase
