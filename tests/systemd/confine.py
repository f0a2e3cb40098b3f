"""`python confine.py UNIT DIRECTORY ARGUMENTS...`: syncd as the unit confines it, without systemd.

Needs root. With `--exec SCRIPT` as the first argument, that script instead.

- Its own mounts: everything read-only but DIRECTORY (the state, the targets), /proc with processes only.
- Its own users: root and the service's are known, all others are nobody.
- No capability, no new privileges, and the unit's system calls and address families by libseccomp, as
  systemd sets them: not allowed is EPERM. MemoryDenyWriteExecute and RestrictNamespaces likewise.

Missing are the cgroups (memory, tasks, devices), private /tmp and /dev, and what needs a capability anyway.
"""

import ctypes
import errno
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

UID = 65534
_NEWNS, _NEWUSER, _NEWIPC = 0x00020000, 0x10000000, 0x08000000
_NO_NEW_PRIVS, _CAPBSET_DROP = 38, 24
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQ, _MASKED_EQ = 4, 7
_SHM_EXEC = 0o100000

libc = ctypes.CDLL(None, use_errno=True)


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = [  # type: ignore[mutable-override]
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


class Filter:
    """A filter of libseccomp. `otherwise` is what happens to calls that no rule is about."""

    def __init__(self, otherwise: int) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2")
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(otherwise)))

    def rule(self, action: int, call: str, *compare: Compare) -> None:
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # not a call of this machine
        array = (Compare * len(compare))(*compare)
        checked(
            self._lib.seccomp_rule_add_array(
                self._context, ctypes.c_uint32(action), number, len(compare), array
            )
        )

    def load(self) -> None:
        checked(self._lib.seccomp_load(self._context))


def checked(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno() or -answer, os.strerror(ctypes.get_errno() or -answer))


def refuse(number: int = errno.EPERM) -> int:
    return _ERRNO | number


def service(path: Path) -> dict[str, list[str]]:
    """Every value of every key of the unit's [Service]."""
    values: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


def found(tool: str) -> str:
    return shutil.which(tool) or tool


def members(group: str) -> set[str]:
    """The system calls of a group such as @system-service, with those of the groups in it."""
    listed = subprocess.run(
        [found("systemd-analyze"), "syscall-filter", group], capture_output=True, text=True, check=True
    )
    calls: set[str] = set()
    for word in (line.strip() for line in listed.stdout.splitlines()[1:]):
        if word.startswith("@"):
            calls |= members(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def allowed_calls(unit: dict[str, list[str]]) -> set[str]:
    """SystemCallFilter= taken line by line."""
    calls = members("@default")
    for line in unit["SystemCallFilter"]:
        these = {call for group in line.lstrip("~").split() for call in members(group)}
        calls = calls - these if line.startswith("~") else calls | these
    return calls | members("@default")


def mount(*arguments: str) -> None:
    subprocess.run([found("mount"), *arguments], check=True)


def expose(path: Path, scratch: Path) -> None:
    """Let everybody pass to `path`: a Python in root's home would be out of the service's reach."""
    closed = [parent for parent in path.parents if not parent.stat().st_mode & 1]
    if closed:
        held = tempfile.mkdtemp(dir=scratch)
        mount("--bind", str(path), held)
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(closed[-1]))
        path.mkdir(parents=True)
        mount("--bind", held, str(path))


def enclose(directory: Path) -> None:
    """ProtectSystem=strict, ReadWritePaths=, ProcSubset=, ProtectProc=."""
    checked(libc.unshare(_NEWNS | _NEWIPC))
    mount("--make-rprivate", "/")
    expose(Path(sys.base_prefix), directory)
    mount("--rbind", str(directory), str(directory))
    mount("-o", "remount,bind,ro", "/")
    mount("-t", "proc", "-o", "subset=pid,hidepid=invisible,nosuid,nodev,noexec", "proc", "/proc")


def become_nobody() -> None:
    """PrivateUsers=, User=, CapabilityBoundingSet=, NoNewPrivileges=."""
    ready = os.pipe()
    me, helper = os.getpid(), os.fork()
    if not helper:  # who writes the maps stays outside; signals and the exit code are those of this process
        os.read(ready[0], 1)
        for what in ("uid", "gid"):
            Path(f"/proc/{me}/{what}_map").write_text(f"0 0 1\n{UID} {UID} 1\n")
        os._exit(0)
    checked(libc.unshare(_NEWUSER))
    os.write(ready[1], b"x")
    if os.waitpid(helper, 0)[1]:
        raise RuntimeError("the users could not be mapped")
    for capability in range(64):
        libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))


def restrict(unit: dict[str, list[str]], calls: set[str]) -> None:
    """SystemCallFilter=, RestrictAddressFamilies=, MemoryDenyWriteExecute=, RestrictNamespaces=."""
    allowed = Filter(refuse())
    for call in calls:
        allowed.rule(_ALLOW, call)
    families = Filter(_ALLOW)
    known = {getattr(socket, name).value for name in unit["RestrictAddressFamilies"][-1].split()}
    for family in set(range(64)) - known:
        families.rule(refuse(errno.EAFNOSUPPORT), "socket", Compare(0, _EQ, family))
    memory = Filter(_ALLOW)
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    memory.rule(refuse(), "mmap", Compare(2, _MASKED_EQ, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        memory.rule(refuse(), call, Compare(2, _MASKED_EQ, mmap.PROT_EXEC, mmap.PROT_EXEC))
    memory.rule(refuse(), "shmat", Compare(2, _MASKED_EQ, _SHM_EXEC, _SHM_EXEC))
    for call in ("unshare", "setns"):
        memory.rule(refuse(), call)
    for each in (families, memory, allowed):
        each.load()


def main() -> None:
    unit, directory = service(Path(sys.argv[1])), Path(sys.argv[2])
    calls = allowed_calls(unit)
    enclose(directory)
    become_nobody()
    os.umask(int(unit["UMask"][-1], 8))
    restrict(unit, calls)
    what = sys.argv[4:] if sys.argv[3] == "--exec" else ["-m", "syncd.cli", *sys.argv[3:]]
    os.execv(sys.executable, [sys.executable, *what])  # noqa: S606


if __name__ == "__main__":
    main()
