"""`syncd run`.

A call that hangs in a thread (a read from a file system whose server is gone) cannot be cancelled, and both
asyncio and the interpreter would wait for it at the end. The daemon does not: its state is safe at every
instruction, so it leaves such a thread behind.
"""

import asyncio
import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from typing_extensions import override

from syncd.clock import SystemClock
from syncd.config import check_unwritable, find, load
from syncd.daemon import Daemon
from syncd.heap import bound_heap
from syncd.log import configure

_THREADS: Final = 64  # targets that hang occupy one thread each, and must not take the others' threads
_GRACE: Final = 1.0


class _Impatient(ThreadPoolExecutor):
    """An executor whose end waits for nothing."""

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


def run_daemon(config: Path | None, *, once: bool) -> None:
    """Run the daemon until a signal, or one pass. Raises SyncdError."""
    bound_heap()
    path = find(config)
    settings = load(path)
    check_unwritable(path)
    configure(settings.log.format, settings.log.level)
    daemon = Daemon(settings, path=path, clock=SystemClock())
    if once:
        asyncio.run(daemon.once())
        return
    # A second signal cancels the main task; that is the end that was asked for.
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(daemon))
    _leave_hanging_threads()


async def _run(daemon: Daemon) -> None:
    asyncio.get_running_loop().set_default_executor(_Impatient(_THREADS))
    await daemon.run()


def _leave_hanging_threads() -> None:
    """Return where every thread ends by itself; else end the process, with exit code 0."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(_GRACE)
            if thread.is_alive():
                sys.stdout.flush()
                os._exit(0)
