"""What the heap may keep: of the C library's, and of what Python has yet to find out is garbage.

C libraries other than glibc have no mallopt, and need none.
"""

import contextlib
import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # names and numbers of glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_SPARE_BYTES: Final = 1 << 17  # what glibc keeps where nothing is said
_NEW_OBJECTS: Final = 10_000  # some 2 MB; Python looks after 700


def bound_heap(*, large_bytes: int = 1 << 18, spare_bytes: int = _SPARE_BYTES) -> None:
    """Give buffers from `large_bytes` on back when they are freed, and do not keep a heap for each thread.

    At one transaction of 300 MB this takes 70 MB off the daemon's peak of 210 (tests/bench/memory.py).
    `spare_bytes` of free heap are kept: less makes who allocates much spend its time on page faults.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, large_bytes)
        mallopt(_M_TRIM_THRESHOLD, spare_bytes)


def trim_heap() -> None:
    """Give back what is free in the middle of the heap as well, where work of another kind follows."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def collect_rarely() -> None:
    """Look for cycles less often, and not among what is there by now.

    Who sends thousands of requests spends 3 to 7 % of its CPU on that, and finds next to nothing.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
