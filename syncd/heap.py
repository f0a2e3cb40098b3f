"""What the heap may keep: of the C library's, and of what Python has yet to find out is garbage.

C libraries other than glibc have no mallopt, and need none.
"""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # names and numbers of glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_SPARE_BYTES: Final = 1 << 17  # what glibc keeps where nothing is said
_ROOMY_LARGE_BYTES: Final = 16 << 20  # the pages of a pack are 4 MiB, and zstd takes as much
_ROOMY_SPARE_BYTES: Final = 16 << 20
_NEW_OBJECTS: Final = 10_000  # some 2 MB; Python looks after 700


@dataclass(slots=True)
class _Bounds:
    """What `bound_heap` was told, and how many want room for now."""

    large_bytes: int = 0
    spare_bytes: int = 0
    roomy: int = 0


_BOUNDS: Final = _Bounds()


def bound_heap(*, large_bytes: int = 1 << 18, spare_bytes: int = _SPARE_BYTES) -> None:
    """Give buffers from `large_bytes` on back when they are freed, and do not keep a heap for each thread.

    At one transaction of 300 MB this takes 70 MB off the daemon's peak of 210 (tests/bench/memory.py).
    `spare_bytes` of free heap are kept.
    """
    _BOUNDS.large_bytes, _BOUNDS.spare_bytes = large_bytes, spare_bytes
    _set((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, large_bytes), (_M_TRIM_THRESHOLD, spare_bytes))


@contextlib.contextmanager
def roomy_heap() -> Iterator[None]:
    """Keep what is freed for the next pack, and give it back in the end.

    Mapped anew for each pack, their pages take a million page faults for 1 GB, each a microsecond or three.
    """
    _BOUNDS.roomy += 1
    _set((_M_MMAP_THRESHOLD, _ROOMY_LARGE_BYTES), (_M_TRIM_THRESHOLD, _ROOMY_SPARE_BYTES))
    try:
        yield
    finally:
        _BOUNDS.roomy -= 1
        if not _BOUNDS.roomy:
            if _BOUNDS.large_bytes:
                _set((_M_MMAP_THRESHOLD, _BOUNDS.large_bytes), (_M_TRIM_THRESHOLD, _BOUNDS.spare_bytes))
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).malloc_trim(0)


def collect_rarely() -> None:
    """Look for cycles less often, and not among what is there by now.

    Who sends thousands of requests spends 3 to 7 % of its CPU on that, and finds next to nothing.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def _set(*options: tuple[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in options:
            mallopt(name, value)
