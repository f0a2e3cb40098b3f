"""What signals mean: SIGTERM or SIGINT asks the daemon to end, a second one cancels it, SIGHUP reloads."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def obeyed(stop: asyncio.Event, reload: asyncio.Event) -> Iterator[None]:
    """Signals set these events; a second one that asks to end cancels the task that entered here."""
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def ask_to_stop() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    handlers: list[tuple[signal.Signals, Callable[[], None]]] = [
        (signal.SIGTERM, ask_to_stop),
        (signal.SIGINT, ask_to_stop),
        (signal.SIGHUP, reload.set),
    ]
    for number, handler in handlers:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number, _ in handlers:
            loop.remove_signal_handler(number)
