"""What the daemon has on its host: the state directory, for one process only, its keys, and doubts.

- Files that are deleted or replaced below a process go on working for it, and are lost with it: so it looks
  whether they are still the ones at their paths.
"""

import fcntl
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from syncd.clock import Clock
from syncd.config import Config, check_private
from syncd.config.recipients import expired, read_recipients
from syncd.config.secrets import check_secret, read_signing_key
from syncd.durable import make_directory
from syncd.errors import StateError
from syncd.replica import Sealing
from syncd.state import LOCK_FILE

_LOOK_SECONDS: Final = 2.0


def read_sealing(config: Config) -> Sealing:
    """The daemon's signing key and recipients. Raises ConfigError, also where others can reach a secret."""
    if config.drill.passphrase_file is not None:
        check_secret(config.drill.passphrase_file)
    recipients = tuple(each.recipient for each in read_recipients(config.keys))
    return Sealing(read_signing_key(config.keys), recipients)


def doubts(config: Config, now_ms: int) -> list[str]:
    """What works, but deserves a thought, by a look at this host; one sentence each. Raises ConfigError."""
    found = expired(read_recipients(config.keys), now_ms)
    for name, database in config.databases.items():
        if _readable_by_all(database.path):
            command = f"chmod 600 {shlex.quote(str(database.path))}"
            found.append(f"databases.{name}: everybody on this host can read {database.path}; run: {command}")
    return found


def _readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and all(
            parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
        )
    except OSError:
        return False


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for this process. Raises StateError, ConfigError."""
    try:
        make_directory(state_dir)
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


async def keep_file(path: Path, clock: Clock) -> None:
    """Look until cancelled. Raises StateError when another file lies at `path` than at first, or none."""
    first = _identity(path)
    while _identity(path) == first:
        await clock.sleep(_LOOK_SECONDS)
    raise StateError(
        f"{path} was deleted or replaced while the daemon used it", hint="the daemon opens its state anew"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
