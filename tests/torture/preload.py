"""A failing file layer and a clock that jumps, for a daemon process: see preload.c.

- `Layer.build` compiles it with the machine's C compiler; None where there is none, and the faults that need
  it are then not injected, which the harness says.
- Faults act on the system calls, so SQLite meets them as well as Python, and the SDK's signatures carry the
  daemon's clock. What the kernel stamps on files keeps the true time.
- One fault of the file layer at a time.
"""

import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final, Self

_SOURCE: Final = Path(__file__).with_name("preload.c")
_FORMAT: Final = struct.Struct("<qiiii512s")


class Layer:
    """The layer of one daemon, and what it does now. `environ` makes a process use it."""

    def __init__(self, library: Path, control: Path) -> None:
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environ = {"LD_PRELOAD": str(library), "TORTURE_CONTROL": str(control)}
        self._clock = 0
        self._errors = (0, 0, 0)
        self._prefix = b""

    @classmethod
    def build(cls, directory: Path) -> Self | None:
        """Compiled into `directory`; None where there is no compiler."""
        compiler = shutil.which("cc")
        library = directory / "preload.so"
        if compiler is None:
            return None
        command = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(_SOURCE), "-ldl"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        return cls(library, directory / "preload.control")

    def skew(self, seconds: int) -> None:
        """The daemon's wall clock goes so far ahead of the true one, or behind it."""
        self._clock = seconds
        self._tell()

    def fail(self, below: Path, *, writing: int = 0, reading: int = 0, opening: int = 0) -> None:
        """Calls on files below this path (a prefix) fail with these errnos."""
        self._errors = (writing, reading, opening)
        self._prefix = str(below).encode()
        self._tell()

    def mend(self) -> None:
        """All files work again."""
        self._errors = (0, 0, 0)
        self._tell()

    def _tell(self) -> None:
        self._map[: _FORMAT.size] = _FORMAT.pack(self._clock, *self._errors, 0, self._prefix)
