"""Where a restored database goes: first to a temporary file beside it, and only whole under its name.

- Never over an existing file, nor beside a stale log of it, unless told to.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from syncd.errors import ConfigError, StateError, WouldOverwrite
from syncd.model import Digest
from syncd.source.shadow import Shadow

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


def copy_shadow(shadow: Path, to: Path, *, size: int, page_size: int, expected: Digest, force: bool) -> None:
    """Copy the local shadow to `to`. Raises WouldOverwrite, ConfigError, StateError.

    A daemon may be writing to it: what was copied counts only if its digest is the expected one.
    """
    check_destination(to, force=force)
    with partial_beside(to) as partial:
        try:
            with shadow.open("rb") as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.truncate(size)
                target.flush()
                os.fsync(target.fileno())
        except OSError as e:
            raise StateError(
                f"the shadow {shadow} cannot be copied to {to.parent}: {e.strerror}",
                hint="check both, or restore from a target",
            ) from e
        image = Shadow(partial, page_size, size // page_size if page_size else 0)
        try:
            digest = Digest().replace(added=image.read_many(range(1, image.page_count + 1)))
        finally:
            image.close()
        if digest != expected:
            raise StateError(
                "the shadow changed while it was copied, or lacks what a crash left in the redo",
                hint="try again; where it stays so, start `syncd run` once, or restore from a target",
            )
        publish(partial, to, force=force)


def check_destination(to: Path, *, force: bool) -> None:
    """Refuse a destination that exists, or has a log beside it. Raises WouldOverwrite, ConfigError."""
    try:
        if not to.parent.is_dir():
            raise ConfigError(
                f"the directory {to.parent} does not exist", hint="make it, or choose another --to"
            )
        if to.is_dir():
            raise ConfigError(f"{to} is a directory", hint="give the file that is to be written")
        for path in (to, *(Path(f"{to}{suffix}") for suffix in _SIDE_FILES)):
            if path.exists() and not force:
                raise WouldOverwrite(f"{path} exists", hint="choose another --to, or replace it with --force")
    except OSError as e:
        raise ConfigError(f"{to} cannot be written: {e.strerror}", hint="choose another --to") from e


@contextlib.contextmanager
def partial_beside(to: Path) -> Iterator[Path]:
    """A new file of mode 0600 in the directory of `to`, gone afterwards unless it was published."""
    try:
        fd, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=".partial", dir=to.parent)
    except OSError as e:
        raise ConfigError(f"{to.parent} cannot be written: {e.strerror}", hint="choose another --to") from e
    os.close(fd)
    partial = Path(name)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, to: Path, *, force: bool) -> None:
    """Give the finished file its name; what a stale log beside it would do to it is prevented."""
    if force:
        for suffix in _SIDE_FILES:
            Path(f"{to}{suffix}").unlink(missing_ok=True)
        partial.replace(to)
    else:
        try:
            to.hardlink_to(partial)
        except FileExistsError as e:
            raise WouldOverwrite(f"{to} exists", hint="it appeared during the restore") from e
        except OSError as e:
            if e.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
                raise
            partial.rename(to)  # no hard links here; the name was free a moment ago
    directory = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
