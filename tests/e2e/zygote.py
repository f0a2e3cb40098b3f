"""`python zygote.py`: runs syncd's commands as forks of one process that has imported everything.

A command spends most of its second importing; a table has dozens of commands. A fork is a process like any
other: its own arguments, environment, directory, user, output and exit code.

Each line of stdin is a job in JSON; each is answered by a line with the exit code. A job that takes longer
than its `seconds` is killed.
"""

import gc
import json
import os
import signal
import sys
import threading
from typing import Any

import syncd.cli.log
import syncd.cli.restore
import syncd.cli.run
import syncd.cli.status
import syncd.store.s3  # noqa: F401 - all of them for their own sake
from syncd.cli import main


def become(job: dict[str, Any]) -> None:
    """Make this process the one that the job asks for."""
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd, path in ((1, job["out"]), (2, job["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)
    if job["uid"]:
        os.setgroups([])
        os.setgid(job["uid"])
        os.setuid(job["uid"])
    sys.argv = ["syncd", *job["arguments"]]


def serve() -> dict[str, Any] | None:
    """Fork for every job. In the child, returns its job; in the parent, None at the end of stdin."""
    for line in iter(sys.stdin.readline, ""):
        job: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if not pid:
            return job
        timer = threading.Timer(job["seconds"], os.kill, (pid, signal.SIGKILL))
        timer.start()
        _, status = os.waitpid(pid, 0)
        timer.cancel()
        timer.join()
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


if __name__ == "__main__":
    gc.freeze()  # a collection in the child would copy every page
    if (mine := serve()) is not None:
        become(mine)
        try:
            main()
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(end.code or 0))  # taking down all that was imported costs more than the command
