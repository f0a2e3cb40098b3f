"""What the confinement refuses: runs in the place of syncd, prints what each attempt came to."""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as e:
        return errno.errorcode[e.errno or 0]
    return "done"


def call(name: str, *arguments: object) -> Callable[[], None]:
    def attempt() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return attempt


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    attempts: dict[str, Callable[[], object]] = {
        "write where it may": lambda: (directory / "x").write_text("x"),
        "write beside itself": lambda: Path(__file__).with_name("x").write_text("x"),
        "write to /etc": lambda: Path("/etc/syncd-x").write_text("x"),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "memory that is written and run": lambda: mmap.mmap(
            -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        ),
        "be nice to itself": lambda: os.nice(-1),
        "become root": lambda: os.setuid(0),
        "namespace": call("unshare", 0x10000000),
        "mount": call("mount", b"x", b"/tmp", b"tmpfs", 0, None),
        "kernel's memory": lambda: Path("/proc/meminfo").read_text(),
    }
    print(json.dumps({name: outcome(attempt) for name, attempt in attempts.items()}))
