"""How long a command takes, and how much memory; from a small process, since a child counts its parent's.

    python -m tests.bench.restore_peak COMMAND ...

The last line on stdout is JSON: seconds, peak_mb, cpu_seconds, code.
"""

import json
import os
import subprocess
import sys
import time


def main() -> int:
    started = time.monotonic()
    with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - started,
                "peak_mb": usage.ru_maxrss / 1024,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "code": process.returncode,
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
