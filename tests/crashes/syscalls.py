"""What a process did to the files below a directory, in order, as strace(1) tells it.

- Paths are absolute, contents whole. Unnamed temporary files and maps are of no account.
- A sync counts for what had ended before it began; it is in the list where it ended.
- A file is known by a number, whatever names it has.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CALLS: Final = (
    "openat,write,pwrite64,lseek,ftruncate,fsync,fdatasync,sync,rename,link,unlink,mkdir,rmdir,"
    # These are not understood: whoever uses them has to be told.
    "open,creat,writev,pwritev,pwritev2,truncate,fallocate,sync_file_range,renameat,renameat2,linkat,"
    "unlinkat,mkdirat,symlink,symlinkat,copy_file_range,sendfile"
)
_LINE: Final = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. \w+ resumed>(.*))", re.DOTALL)
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD: Final = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>")
_UNFINISHED: Final = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """The size of a file."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Made:
    """A name of a file, or of a directory (`file` is 0)."""

    path: Path
    file: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A name that was removed."""

    path: Path


@dataclass(frozen=True, slots=True)
class Moved:
    """A name that became another one, in the same directory."""

    path: Path
    to: Path


@dataclass(frozen=True, slots=True)
class Synced:
    """A file, a directory, or everything (None) is durable as of operation number `before`."""

    what: int | Path | None
    before: int


@dataclass(frozen=True, slots=True)
class Said:
    """Output: by now the world knows."""

    text: str


Operation = Write | Cut | Made | Gone | Moved | Synced | Said


def command(output: Path) -> list[str]:
    """What to put before a command."""
    options = ("-D", "-f", "-y", "-xx", "-s", "999999999", "--seccomp-bpf", "-e", f"trace={_CALLS}")
    return ["strace", *options, "-o", str(output)]


def read(trace: str, root: Path) -> list[Operation]:
    """The operations below `root`, and the output. Raises ValueError for a call that is not understood."""
    reader = _Reader(root)
    for line in trace.splitlines():
        reader.take(line)
    return reader.operations


@dataclass(slots=True)
class _Reader:
    root: Path
    operations: list[Operation] = field(default_factory=list)
    _names: dict[Path, int] = field(default_factory=dict)
    _open: dict[int, int] = field(default_factory=dict)
    _offsets: dict[int, int] = field(default_factory=dict)
    _begun: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    _files: int = 0

    def take(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            return
        pid, call, rest, resumed = match.groups()
        before = len(self.operations)
        if resumed is not None:
            call, first, before = self._begun.pop(pid)
            rest = first + resumed
        elif rest.endswith(_UNFINISHED):
            self._begun[pid] = (call, rest.removesuffix(_UNFINISHED), before)
            return
        arguments, _, result = rest.rpartition(") ")
        if not result.lstrip().startswith("= -1"):
            self.operations += self._understand(call, arguments, result.lstrip(" ="), before)

    def _understand(self, call: str, arguments: str, result: str, before: int) -> Iterator[Operation]:
        match call:
            case "sync":
                yield Synced(None, before)
            case "openat":
                yield from self._opened(arguments, result)
            case "write" | "pwrite64" | "lseek" | "ftruncate" | "fsync" | "fdatasync":
                yield from self._by_descriptor(call, arguments, result, before)
            case _:
                paths = [Path(_text(each)) for each in _STRING.findall(arguments)]
                if any(path.is_relative_to(self.root) for path in paths):
                    yield from self._by_name(call, *paths)

    def _opened(self, arguments: str, result: str) -> Iterator[Operation]:
        found = _FD.match(result)
        strings = _STRING.findall(arguments)
        if found is None or not strings:
            return
        path = Path(_text(strings[-1]))
        fd = int(found[1])
        self._open.pop(fd, None)
        if not path.is_relative_to(self.root) or "O_DIRECTORY" in arguments or "O_TMPFILE" in arguments:
            return
        if path not in self._names:
            if "O_CREAT" not in arguments:
                return  # a directory, opened to be read
            yield self._made(path)
        elif "O_TRUNC" in arguments:
            yield Cut(self._names[path], 0)
        self._open[fd] = self._names[path]
        self._offsets[fd] = 0

    def _made(self, path: Path) -> Made:
        self._files += 1
        self._names[path] = self._files
        return Made(path, self._files)

    def _by_descriptor(self, call: str, arguments: str, result: str, before: int) -> Iterator[Operation]:
        found = _FD.match(arguments)
        if found is None:
            return
        fd, path = int(found[1]), Path(_text(found[2]))
        if call == "write" and fd == 1:
            yield Said(_bytes(_STRING.findall(arguments)[0]).decode())
        elif call in {"fsync", "fdatasync"} and path.is_dir() and path.is_relative_to(self.root):
            yield Synced(path, before)
        elif fd in self._open and path.is_relative_to(self.root):
            yield from self._on_file(call, fd, arguments, result, before)

    def _on_file(self, call: str, fd: int, arguments: str, result: str, before: int) -> Iterator[Operation]:
        file, last = self._open[fd], arguments.rpartition(", ")[2]
        match call:
            case "lseek":
                self._offsets[fd] = int(result)
            case "ftruncate":
                yield Cut(file, int(last))
            case "fsync" | "fdatasync":
                yield Synced(file, before)
            case _:
                data = _bytes(_STRING.findall(arguments)[0])[: int(result)]
                offset = int(last) if call == "pwrite64" else self._offsets[fd]
                self._offsets[fd] += 0 if call == "pwrite64" else len(data)
                yield Write(file, offset, data)

    def _by_name(self, call: str, path: Path, to: Path | None = None) -> Iterator[Operation]:
        match call:
            case "mkdir":
                yield Made(path, 0)
            case "rmdir":
                yield Gone(path)
            case "unlink":
                self._names.pop(path, None)
                yield Gone(path)
            case "link" if to is not None:
                self._names[to] = self._names[path]
                yield Made(to, self._names[path])
            case "rename" if to is not None and to.parent == path.parent:
                self._names[to] = self._names.pop(path)
                yield Moved(path, to)
            case _:
                raise ValueError(f"{call} of {path} is not understood")


def _bytes(spelled: str) -> bytes:
    return bytes.fromhex(spelled.replace("\\x", ""))


def _text(spelled: str) -> str:
    return _bytes(spelled).decode(errors="surrogateescape")
