"""How long a command takes, and how much memory; from a small process, since a child counts its parent's.

    python -m tests.bench.restore_peak COMMAND ...

- Memory is what it and the processes that it started have together, or what it had alone, if that was more.
- The last line on stdout is JSON: seconds, peak_mb, cpu_seconds, code.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 0.05
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def _memory(pid: int) -> int:
    """Bytes, with those of its children."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return 0
    return own + sum(_memory(child) for child in children)


def main() -> int:
    started = time.monotonic()
    ended = threading.Event()
    peak = 0

    def look() -> None:
        nonlocal peak
        while not ended.wait(_LOOK_SECONDS):
            peak = max(peak, _memory(process.pid))

    with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) as process:
        threading.Thread(target=look, daemon=True).start()
        _, status, usage = os.wait4(process.pid, 0)
        ended.set()
        process.returncode = os.waitstatus_to_exitcode(status)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - started,
                "peak_mb": max(usage.ru_maxrss * 1024, peak) / (1 << 20),
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "code": process.returncode,
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
