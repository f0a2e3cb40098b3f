"""Tell the service manager how we are: the sd_notify protocol, without libsystemd.

- Without `$NOTIFY_SOCKET` every call does nothing: syncd runs the same from a terminal.
- A notification is a hint: a manager that cannot be reached never stops the daemon. Each call returns
  whether the message was handed over.
- A path, or an abstract socket where the name starts with `@`. Other address families are not used.
- One datagram per call, so that READY and its STATUS arrive together.

Protocol: sd_notify(3), "Well-known assignments".
"""

import os
import socket
import time
from typing import Final

_SEND_TIMEOUT: Final = 0.5  # seconds; a full queue must not stop the event loop for longer


def ready(status: str = "") -> bool:
    """The first position is stored, or a reload has ended."""
    return _send("READY=1", *_status(status))


def status(text: str) -> bool:
    """One line for `systemctl status`."""
    return _send(*_status(text or " "))


def watchdog() -> bool:
    """The daemon is alive; due every `watchdog_interval()` seconds."""
    return _send("WATCHDOG=1")


def stopping(status: str = "") -> bool:
    """The daemon drains and will exit."""
    return _send("STOPPING=1", *_status(status))


def reloading(status: str = "") -> bool:
    """A reload has begun; `ready` ends it."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return _send("RELOADING=1", f"MONOTONIC_USEC={now}", *_status(status))


def watchdog_interval() -> float | None:
    """Seconds between two `watchdog` calls: half of what the manager allows; None where it expects none."""
    allowed, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not _is_number(allowed) or int(allowed) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None  # meant for the process that started us
    return int(allowed) / 2 / 1_000_000


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _status(text: str) -> tuple[str, ...]:
    # A line break would start another assignment.
    return (f"STATUS={' '.join(text.splitlines())}",) if text else ()


def _send(*assignments: str) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    message = "\n".join(assignments).encode("utf-8", "backslashreplace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(_SEND_TIMEOUT)
            link.connect(address)
            return link.send(message) == len(message)
    except OSError:
        return False
