"""Whether the application's own file is sound, seen through the shadow: before good history expires.

- Silent corruption is copied like any other change. A backup of a damaged database is of little use once
  the last sound position has expired: SQLite's quick_check looks at a copy of the shadow.
- The application's files are not touched, and capture is not held up: the copy is made from a view.
- The copy lies in the state directory, mode 0600, for as long as the check takes; one that a killed
  process left is removed first.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from syncd.clock import to_completion
from syncd.errors import StateError
from syncd.log import Event
from syncd.replica import Replica
from syncd.source.integrity import check_integrity
from syncd.source.shadow import View

_CHUNK_BYTES: Final = 4 << 20
_SPARE_BYTES: Final = 64 << 20
_TRIES: Final = 60
_PREFIX, _SUFFIX = ".check.", ".partial"


async def check_shadow(replica: Replica) -> list[str]:
    """The problems that SQLite finds in the newest captured state, each a sentence; none is good.

    Logs source.checked or source.corrupt. Raises StateError where there is no room for the copy, no
    complete state yet, or one transaction goes on for more than a minute.
    """
    started = replica.clock.monotonic()
    view = await _view(replica)
    try:
        pages = view.page_count
        with _copy_file(replica.shadow.path.parent, view.page_count * view.page_size) as (fd, path):
            await _copy(view, fd)
            found = await check_integrity(path, quick=True)
    finally:
        view.close()
    duration_ms = round((replica.clock.monotonic() - started) * 1000)
    if found.problems:
        replica.log(Event.SOURCE_CORRUPT, problems=list(found.problems), pages=pages, duration_ms=duration_ms)
    else:
        replica.log(
            Event.SOURCE_CHECKED, pages=pages, unchecked=list(found.unchecked), duration_ms=duration_ms
        )
    return list(found.problems)


async def _view(replica: Replica) -> View:
    """The shadow at a committed state."""
    for _ in range(_TRIES):
        async with replica.lock:
            if replica.chain is None:
                raise StateError("there is nothing to check yet", hint="wait for the first copy")
            if replica.chain.boundary:
                return replica.shadow.view()
        await replica.clock.sleep(1.0)
    raise StateError("the shadow is in the middle of a large transaction", hint="the next check will tell")


@contextmanager
def _copy_file(directory: Path, size: int) -> Iterator[tuple[int, Path]]:
    try:
        for litter in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
            litter.unlink(missing_ok=True)
        free = shutil.disk_usage(directory).free
        if free < size + _SPARE_BYTES:
            raise StateError(
                f"the check of the shadow needs {size + _SPARE_BYTES:,} bytes in {directory},"
                f" which has {free:,} free",
                hint="make room, or switch the check off",
            )
        fd, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=directory)
    except OSError as e:
        raise StateError(f"{directory} cannot be written: {e.strerror}", hint="check its disk") from e
    path = Path(name)
    try:
        yield fd, path
    finally:
        os.close(fd)
        with suppress(OSError):  # the next check removes it
            path.unlink(missing_ok=True)


async def _copy(view: View, fd: int) -> None:
    count = max(1, _CHUNK_BYTES // view.page_size) if view.page_size else 1
    for first in range(1, view.page_count + 1, count):
        numbers = range(first, min(first + count, view.page_count + 1))
        # Files must not be closed under a thread that still reads them.
        await to_completion(asyncio.to_thread(_copy_pages, view, fd, numbers))


def _copy_pages(view: View, fd: int, numbers: range) -> None:
    images = memoryview(view.read(numbers))
    try:
        while images:
            images = images[os.write(fd, images) :]
    except OSError as e:
        raise StateError(
            f"the copy of the shadow cannot be written: {e.strerror}", hint="check its disk"
        ) from e
