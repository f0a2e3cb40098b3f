"""What the daemon has on its host: the state directory, for one process only, and its signing key."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.config import Config, check_private
from syncd.envelope.keys import SigningKey
from syncd.errors import ConfigError, IdentityError, StateError
from syncd.replica import Sealing
from syncd.state import LOCK_FILE


def read_sealing(config: Config) -> Sealing:
    """The daemon's signing key and recipients. Raises ConfigError."""
    path = config.keys.signing_key
    check_private(path)
    try:
        key = SigningKey.parse(path.read_text().strip())
    except OSError as e:
        raise ConfigError(f"keys.signing_key: {path} cannot be read: {e.strerror}") from e
    except (UnicodeDecodeError, IdentityError) as e:
        raise ConfigError(
            f"keys.signing_key: {path} is not a signing key", hint="give the file that `syncd init` made"
        ) from e
    return Sealing(key, config.keys.recipient_keys)


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for this process. Raises StateError, ConfigError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise StateError(f"state_dir {state_dir} cannot be used: {e.strerror}", hint="check state_dir") from e
    try:
        check_private(state_dir)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise StateError(
                f"state_dir {state_dir} is in use by another syncd", hint="one daemon per state directory"
            ) from e
        yield
    finally:
        os.close(fd)
