"""Several new files, or none.

- All are looked for before any is made: WouldOverwrite names the first that is there (a dangling symbolic
  link is there, too).
- Each is created exclusively, with its final mode from the first byte on, and synced, as is its directory.
- Whatever goes wrong later, an interrupt too, removes those that were made.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from syncd.durable import sync_directory
from syncd.errors import ConfigError, WouldOverwrite


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to create; `mode` is its permission bits, whatever the umask."""

    path: Path
    content: bytes = field(repr=False)
    mode: int


def check_new(path: Path) -> None:
    """Make sure that `path` is free and its directory there. Raises WouldOverwrite, ConfigError."""
    if os.path.lexists(path):
        raise WouldOverwrite(f"{path} exists already", hint="move it away, or choose another name")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no directory {path.parent}", hint="create it first")


def create_all(files: Sequence[NewFile]) -> None:
    """Create every file. Raises WouldOverwrite, ConfigError; then none of them was left behind."""
    for file in files:
        check_new(file.path)
    if len({_place(file.path) for file in files}) < len(files):
        names = ", ".join(str(file.path) for file in files)
        raise ConfigError(f"two files would have the same name: {names}")
    made: list[Path] = []
    try:
        for file in files:
            _create(file, made)
        for directory in {file.path.parent for file in files}:
            _sync_directory(directory)
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _place(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _create(file: NewFile, made: list[Path]) -> None:
    try:
        # The umask can only take bits away, so nobody reads the file before fchmod gives it its mode.
        descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file.mode)
        made.append(file.path)
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(descriptor, file.mode)
            out.write(file.content)
            out.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise WouldOverwrite(
            f"{file.path} exists already", hint="move it away, or choose another name"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file.path}: cannot be written: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    try:
        sync_directory(directory)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {error.strerror}") from error
