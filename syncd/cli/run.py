"""`syncd run`."""

import asyncio
import contextlib
from pathlib import Path

from syncd.clock import SystemClock
from syncd.config import find, load
from syncd.daemon import Daemon
from syncd.log import configure


def run_daemon(config: Path | None, *, once: bool) -> None:
    """Run the daemon until a signal, or one pass. Raises SyncdError."""
    path = find(config)
    settings = load(path)
    configure(settings.log.format, settings.log.level)
    daemon = Daemon(settings, path=path, clock=SystemClock())
    # A second signal cancels the main task; that is the end that was asked for.
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(daemon.once() if once else daemon.run())
