"""What a process does to the files of a directory, as strace(1) tells it.

- Names are always printed in full, descriptors with their path, the content of buffers never.
- Whatever mentions the directory and is not known to be harmless is a finding.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.process import poll

_CALLS = (
    "%file,fcntl,flock,ftruncate,fchmod,fchown,fallocate,write,pwrite64,writev,pwritev,pwritev2,"
    "copy_file_range,sendfile,splice,mmap,ioctl"
)
_LOOKING = frozenset(
    {"stat", "lstat", "newfstatat", "statx", "statfs", "access", "faccessat", "faccessat2"}
    | {"readlink", "readlinkat", "getcwd", "inotify_add_watch"}
)
_OPENING = frozenset({"open", "openat", "openat2"})
_HARMLESS_FLAGS = frozenset(
    {"O_RDONLY", "O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW", "O_DIRECTORY", "O_LARGEFILE"}
)
_LINE = re.compile(r"\d+ +(\w+)\((.*)")
_FLAGS = re.compile(r"\bO_\w+(?:\|O_\w+)*")
_GUARD = re.compile(r"-shm>(?:\(deleted\))?, (?:F_SETLK, \{l_type=F_RDLCK|F_SETLKW?, \{l_type=F_UNLCK),")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call on a file of the directory; `arguments` as strace prints them, with the answer."""

    name: str
    arguments: str


def command(output: Path) -> list[str]:
    """What to put before a command. The command's own process stays our child (-D)."""
    return [
        "strace",
        "-D",
        "-f",
        "-y",
        "-s",
        "0",
        "--seccomp-bpf",
        "-e",
        f"trace={_CALLS}",
        "-o",
        str(output),
    ]


def is_missing() -> bool:
    return shutil.which("strace") is None


def finished(output: Path, pid: int) -> str:
    """The whole trace of a process that has ended; strace ends a moment later."""
    end = re.compile(rf"^{pid} +\+\+\+ exited with \d+ \+\+\+$", re.MULTILINE)
    poll(lambda: end.search(output.read_text()), "strace wrote the last line")
    return output.read_text()


def calls(trace: str, directory: Path) -> Iterator[Call]:
    """The calls that have to do with files below `directory`."""
    # The start of a name or of a descriptor's path; not the middle of some text.
    mention = re.compile(rf'["<]{re.escape(str(directory))}')
    for line in trace.splitlines():
        # A call that another thread interrupted has all that counts in its first half.
        if mention.search(line) and " resumed>" not in line:
            match = _LINE.match(line)
            assert match, line
            yield Call(match[1], match[2])


def is_harmless(call: Call) -> bool:
    """Whether a call reads, looks, or asks about locks, and nothing else.

    A shared lock is allowed on the wal-index alone, as every reader has it, and without waiting for it.
    """
    if call.name in _LOOKING:
        return True
    if call.name in _OPENING:
        found = _FLAGS.search(call.arguments)
        return found is not None and set(found[0].split("|")) <= _HARMLESS_FLAGS
    if call.name == "fcntl":
        if re.search(r", F_(GETLK|GETFD|GETFL|SETFD|DUPFD_CLOEXEC)\b", call.arguments):
            return True
        return bool(_GUARD.search(call.arguments))
    return False
