"""`python unprivileged.py UID ARGUMENTS...`: the syncd command as another user.

Everything is imported first: a Python that lies in somebody's home directory would otherwise be out of that
user's reach.
"""

import os
import sys

import syncd.cli.run
import syncd.cli.status  # noqa: F401 - both for their own sake
from syncd.cli import main

if __name__ == "__main__":
    uid = int(sys.argv.pop(1))
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    main()
