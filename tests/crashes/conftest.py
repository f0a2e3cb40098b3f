"""Where the cases are played: in memory where there is such a place. Nothing here is about real disks."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a new directory of mode 0700 is made in it


@contextmanager
def _in_memory() -> Iterator[Path]:
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="syncd-crashes-", dir=place) as name:
        yield Path(name)


@pytest.fixture
def room() -> Iterator[Path]:
    with _in_memory() as directory:
        yield directory


@pytest.fixture(scope="module")
def lasting_room() -> Iterator[Path]:
    with _in_memory() as directory:
        yield directory
