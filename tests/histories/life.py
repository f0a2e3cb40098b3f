"""The life of an application around its connection: processes that start, end, and are killed; files that go.

- `main` is started when an operation needs it, and is left closed or killed until then: what lies on the
  disk in between is a state in its own right.
- `other` is a second process on the same database that comes and goes.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.histories.admin import backup_path
from tests.histories.app import OPS, Opening
from tests.histories.process import Child, Message
from tests.histories.registry import NotNow, Registry
from tests.support.oracle import fold, side_files


class Life:
    """One database file and the processes that use it. Every choice comes from the seed of its operation."""

    def __init__(
        self, path: Path, allow: frozenset[str], deny: frozenset[str], pinned: Mapping[str, Any]
    ) -> None:
        self.path = path
        self.allow = allow - deny
        self._deny = deny
        self._pinned = pinned
        self._main: Child | None = None
        self.other: Child | None = None
        self.crashed = False
        self.rng = Random(0)

    @property
    def state(self) -> str:
        """open, crashed (killed, and not opened since), or closed (or never opened)."""
        if self._main or self.other:
            return "open"
        return "crashed" if self.crashed else "closed"

    @property
    def children(self) -> list[Child]:
        return [child for child in (self._main, self.other) if child]

    def run(self, name: str, seed: int) -> str:
        """Run one operation: done, skipped, or busy."""
        self.rng = Random(seed)
        if name in LIFE.ops:
            try:
                LIFE.ops[name].run(self)
            except NotNow:
                return "skipped"
            return "done"
        main = self.main()
        if OPS.ops[name].alone:
            self.close_other()
        target = self.other if self.other and self.rng.random() < 0.4 else main
        outcome: str = target.call(do="run", name=name, seed=self.rng.getrandbits(64))["outcome"]
        return outcome

    def main(self) -> Child:
        """The application, started where it does not run."""
        if not self._main:
            self._main = self.start(alone=not self.other)
        return self._main

    def start(self, *, alone: bool) -> Child:
        seed = self.rng.getrandbits(64)
        opening = Opening(seed=seed, allow=self.allow, alone=alone, **self._pinned)
        child = Child(self.path, opening, self.children)
        self.crashed = False
        return child

    def close_main(self) -> None:
        if self._main:
            self._main.close()
            self._main = None

    def close_other(self) -> None:
        if self.other:
            self.other.close()
            self.other = None

    def close(self) -> None:
        """Close everything, in an order that varies."""
        for close in self.rng.sample([self.close_main, self.close_other], 2):
            close()

    def kill(self, child: Child) -> None:
        """SIGKILL: what the child's connections left behind stays as it is."""
        child.kill()
        if child is self._main:
            self._main = None
        else:
            self.other = None
        self.crashed = not self.children

    def settle(self) -> None:
        """End the read transactions that operations left open."""
        for child in self.children:
            child.call(do="settle")

    def remove_files(self) -> None:
        for path in (self.path, *side_files(self.path)):
            path.unlink(missing_ok=True)

    def truth(self, to: Path) -> Message:
        """Write the committed database to a file, and say how it was found."""
        if not self.path.exists():
            return {"exists": False, "hot_journal": False}
        child = next(iter(self.children), None)
        journal, wal = (self.path.with_name(self.path.name + suffix) for suffix in ("-journal", "-wal"))
        hot = journal.exists() and any(journal.read_bytes()[:1])
        if child and child.state["journal_mode"] == "wal":
            child.call(do="truth", to=str(to))
            how = "serialize"  # also right where the WAL has frames that a recovery would not accept
        elif hot or wal.exists():
            with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
                shutil.move(fold(self.path, Path(scratch)), to)
            how = "fold"
        else:
            shutil.copyfile(self.path, to)
            how = "copy"
        image = to.read_bytes()
        mode = child.state["journal_mode"] if child else "wal" if image[18:19] == b"\x02" else "delete"
        return {
            "exists": True,
            "sha256": hashlib.sha256(image).hexdigest(),
            "bytes": len(image),
            "page_size": 65536 if image[16:18] == b"\x00\x01" else int.from_bytes(image[16:18]),
            "journal_mode": mode,
            "how": how,
            "hot_journal": hot,
        }


LIFE: Registry[Life] = Registry()


@LIFE.op("connection", 4)
def reopen(life: Life) -> None:
    life.close_main()
    life.main()


@LIFE.op("connection", 1)
def close_all(life: Life) -> None:
    life.close()


@LIFE.op("process", 3)
def start_other(life: Life) -> None:
    main = life.main()
    if life.other or main.state["exclusive"]:
        raise NotNow
    life.other = life.start(alone=False)


@LIFE.op("process", 2)
def stop_other(life: Life) -> None:
    if not life.other:
        raise NotNow
    life.close_other()


@LIFE.op("process", 1)
def stop_main(life: Life) -> None:
    """The second process stays, so this is not the last connection: the WAL stays too."""
    if not life.other:
        raise NotNow
    life.close_main()


@LIFE.op("crash", 2)
def crash(life: Life) -> None:
    life.main()
    life.kill(life.rng.choice(life.children))


@LIFE.op("crash", 1)
def crash_all(life: Life) -> None:
    life.main()
    for child in life.children:
        life.kill(child)


@LIFE.op("crash", 3)
def crash_in_transaction(life: Life) -> None:
    """Spilled pages of a transaction that never commits: frames in the WAL, or a hot journal."""
    life.main()
    victim = life.rng.choice(life.children)
    victim.call(do="abandon", seed=life.rng.getrandbits(64))
    life.kill(victim)


@LIFE.op("file", 0.5)
def delete_files(life: Life) -> None:
    """No database until the next operation needs one."""
    life.close()
    life.remove_files()
    life.crashed = False


@LIFE.op("file", 0.5)
def recreate(life: Life) -> None:
    """A new database at the old name, with other choices."""
    life.close()
    life.remove_files()
    life.main()


@LIFE.op("file", 1)
def restore_backup(life: Life) -> None:
    """As an application does with its own backup: close, clear away what belongs to the old file, replace."""
    backup = backup_path(life.path)
    if not backup.exists():
        raise NotNow
    life.close()
    for path in side_files(life.path):
        path.unlink(missing_ok=True)
    backup.replace(life.path)
    life.crashed = False
    life.main()
