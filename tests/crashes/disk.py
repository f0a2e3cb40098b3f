"""What a power cut leaves of recorded operations.

- What was synced before it is there: a file's bytes and size by an fsync of the file, a name by an fsync of
  its directory. Nothing else is sure; an fsync of a file says nothing about its name.
- Of the rest each piece is there or not by chance: a name, a size, a sector or page of a file as it was after
  any of the writes to it, so that writes are lost, torn, and come in another order.
- A rename is done or not. Wal-indexes (`-shm`) are maps that nobody syncs: they are never there.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crashes.syscalls import Cut, Gone, Made, Moved, Operation, Synced, Write

_SECTORS: Final = (512, 4096)
_MODES: Final = ("lost", "kept", "mixed", "mixed", "mixed")


@dataclass(slots=True)
class Disk:
    """Files below `root`, by the operations before the cut."""

    root: Path
    data: dict[int, list[tuple[int, Write | Cut]]] = field(default_factory=lambda: defaultdict(list))
    names: list[tuple[int, Made | Gone | Moved]] = field(default_factory=list)
    synced: dict[int | Path, int] = field(default_factory=dict)

    @classmethod
    def at_cut(cls, root: Path, operations: Sequence[Operation]) -> "Disk":
        """What was asked of it before the power went."""
        disk, all_before = cls(root), 0
        for number, operation in enumerate(operations):
            if isinstance(operation, Write | Cut):
                disk.data[operation.file].append((number, operation))
            elif isinstance(operation, Made | Gone | Moved):
                disk.names.append((number, operation))
            elif isinstance(operation, Synced):
                what, before = operation.what, operation.before
                if what is None:
                    all_before = before
                else:
                    disk.synced[what] = max(before, disk.synced.get(what, 0))
        everything: set[int | Path] = {*disk.data}
        everything |= {operation.path.parent for _, operation in disk.names}
        for each in everything:
            disk.synced[each] = max(disk.synced.get(each, 0), all_before)
        return disk

    def unsynced(self) -> int:
        """How many operations a power cut may undo."""
        lost = sum(number >= self.synced[file] for file, each in self.data.items() for number, _ in each)
        return lost + sum(number >= self.synced[each.path.parent] for number, each in self.names)

    def leave(self, rng: random.Random) -> str:
        """Write what is left below the root, which is empty; returns how that was chosen."""
        names, data = rng.choice(_MODES), rng.choice(_MODES)
        bound = self._bound(_chooser(names, rng))
        for path, file in sorted(bound.items()):
            if path.parent != self.root and path.parent not in bound:
                continue  # its directory was lost, and it with it
            if not file:
                path.mkdir(mode=0o700)
            elif not path.name.endswith("-shm"):
                path.write_bytes(self._content(file, data, rng))
                path.chmod(0o600)
        return f"names {names}, data {data}"

    def _bound(self, keeps: Callable[[], bool]) -> dict[Path, int]:
        bound: dict[Path, int] = {}
        for number, operation in self.names:
            if number >= self.synced[operation.path.parent] and not keeps():
                continue
            match operation:
                case Made(path, file):
                    bound[path] = file
                case Gone(path):
                    bound.pop(path, None)
                case Moved(path, to) if path in bound:
                    bound[to] = bound.pop(path)
                case _:
                    pass
        return {path: file for path, file in bound.items() if self._reachable(path, bound)}

    def _reachable(self, path: Path, bound: dict[Path, int]) -> bool:
        above = path.parents[: len(path.relative_to(self.root).parts) - 1]
        return all(each in bound for each in above)

    def _content(self, file: int, mode: str, rng: random.Random) -> bytes:
        mode = rng.choice(_MODES[:3]) if mode == "mixed" else mode
        content, pending = bytearray(), list[Write | Cut]()
        for number, operation in self.data.get(file, ()):
            if number < self.synced[file] or mode == "kept":
                _apply(content, operation)
            else:
                pending.append(operation)
        if mode == "mixed":
            _mix(content, pending, rng)
        return bytes(content)


def _chooser(mode: str, rng: random.Random) -> Callable[[], bool]:
    share = {"lost": 0.0, "kept": 1.0}.get(mode, rng.random())
    return lambda: rng.random() < share


def _apply(content: bytearray, operation: Write | Cut) -> None:
    match operation:
        case Cut(_, size):
            del content[size:]
            content.extend(bytes(size - len(content)))
        case Write(_, offset, data):
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data


def _mix(content: bytearray, pending: Sequence[Write | Cut], rng: random.Random) -> None:
    """Each sector, and the size, as after any of the pending operations."""
    sector = rng.choice(_SECTORS)
    versions: dict[int, int] = defaultdict(lambda: rng.randint(0, len(pending)))
    sized = rng.randint(0, len(pending))
    size = len(content)
    for number, operation in enumerate(pending):
        if isinstance(operation, Cut):
            if number < sized:
                _apply(content, operation)
                size = operation.size
            continue
        end = operation.offset + len(operation.data)
        size = max(size, end) if number < sized else size
        at = operation.offset
        while at < end:
            following = min(end, (at // sector + 1) * sector)
            if number < versions[at // sector]:
                piece = operation.data[at - operation.offset : following - operation.offset]
                _apply(content, Write(operation.file, at, piece))
            at = following
    _apply(content, Cut(0, size))
