"""Where a restored database goes: first to a temporary file beside it, and only whole under its name.

- Never over an existing file, nor beside a stale log of it, unless told to.
- What has its final name stays so after a power cut; a stale log that was removed does not come back to it.
- What a killed restore left is removed by the next one to the same file.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from syncd.durable import partial_file, sync_directory
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
    """A new file of mode 0600 in the directory of `to`, gone afterwards unless it was published.

    Raises ConfigError.
    """
    with contextlib.ExitStack() as stack:
        try:
            _, partial = stack.enter_context(partial_file(to))
        except OSError as e:
            raise _unwritable(to.parent, e) from e
        yield partial


@contextlib.contextmanager
def spooled(directory: Path) -> Iterator[BinaryIO]:
    """An unnamed temporary file there. Raises ConfigError."""
    try:
        file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed below
    except OSError as e:
        raise _unwritable(directory, e) from e
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # what it could not write is wanted no more
            file.close()


def publish(partial: Path, to: Path, *, force: bool) -> None:
    """Give the finished file its name; what a stale log beside it would do to it is prevented.

    Raises WouldOverwrite, ConfigError.
    """
    try:
        if force:
            for suffix in _SIDE_FILES:
                Path(f"{to}{suffix}").unlink(missing_ok=True)
            sync_directory(to.parent)
            partial.replace(to)
        else:
            _link(partial, to)
        sync_directory(to.parent)
    except OSError as e:
        raise _unwritable(to.parent, e) from e


def _link(partial: Path, to: Path) -> None:
    try:
        to.hardlink_to(partial)
    except FileExistsError as e:
        raise WouldOverwrite(f"{to} exists", hint="it appeared during the restore") from e
    except OSError as e:
        if e.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
            raise
        partial.rename(to)  # no hard links here; the name was free a moment ago


def _unwritable(directory: Path, e: OSError) -> ConfigError:
    return ConfigError(f"{directory} cannot be written: {e.strerror}", hint="choose another --to")
