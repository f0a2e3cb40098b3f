"""Where secrets of this host come from: a file of mode 0600, or a credential of systemd.

- `credential:NAME` is the file NAME in `$CREDENTIALS_DIRECTORY`, which systemd fills (LoadCredential=).
- `$SYNCD_SIGNING_KEY_FILE` names the signing key's file, whatever the configuration says.
- A secret that others can reach is refused, not used with a warning.
- No secret is ever an argument, the value of a variable, or part of an error.
"""

import os
from pathlib import Path
from typing import Final

from syncd.config.load import check_private
from syncd.config.model import CREDENTIAL, Keys
from syncd.envelope.keys import SigningKey
from syncd.errors import ConfigError, IdentityError

DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
SIGNING_KEY_FILE: Final = "SYNCD_SIGNING_KEY_FILE"


def secret_file(path: Path) -> Path:
    """The file that a path of the configuration means. Raises ConfigError."""
    text = str(path)
    if not text.startswith(CREDENTIAL):
        return path
    directory = os.environ.get(DIRECTORY)
    if not directory:
        raise ConfigError(
            f"{text}: there is no ${DIRECTORY}",
            hint="systemd sets it for a unit with LoadCredential=; give a path where there is no systemd",
        )
    return Path(directory) / text.removeprefix(CREDENTIAL)


def check_secret(path: Path) -> Path:
    """The file, after making sure that others cannot reach it. Raises ConfigError."""
    file = secret_file(path)
    # systemd lets the service read by an access list, whose mask shows as permission of the group.
    check_private(file, forbidden=0o077 if file is path else 0o037)
    return file


def signing_key_place(keys: Keys) -> Path:
    """Where the signing key is said to be, for `secret_file` and `check_secret`."""
    named = os.environ.get(SIGNING_KEY_FILE)
    return Path(named) if named else keys.signing_key


def read_signing_key(keys: Keys) -> SigningKey:
    """The daemon's signing key. Raises ConfigError, also where others can reach it."""
    path = check_secret(signing_key_place(keys))
    try:
        return SigningKey.parse(path.read_text(encoding="utf-8").strip())
    except OSError as e:
        raise ConfigError(f"keys.signing_key: {path} cannot be read: {e.strerror}") from e
    except (UnicodeDecodeError, IdentityError) as e:
        raise ConfigError(
            f"keys.signing_key: {path} is not a signing key", hint="give the file that `syncd init` made"
        ) from e
