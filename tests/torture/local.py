"""Faults of the machine: the process, its files, the database's files, syncd's own state."""

import errno
import os
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from typing_extensions import override

from tests.torture.faults import Fault, Words

if TYPE_CHECKING:
    from tests.torture.world import World

_YEAR: Final = 365 * 86400


class Killed(Fault):
    """SIGKILL, several times; in between the daemon is down for a moment."""

    seconds = (1.0, 3.0)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        for _ in range(self.rng.randint(1, 4)):
            world.kill()
            if self.rng.random() < 0.5:
                world.start()
                world.pass_time(self.rng.uniform(0.0, 1.5))
        world.kill()

    @override
    def end(self, world: "World") -> None:
        world.start()


class Down(Fault):
    """The daemon is dead for a while, and the application goes on."""

    words: ClassVar[Words] = ("stopped",)
    logs = False
    style = ""

    @override
    def begin(self, world: "World") -> None:
        world.kill()

    @override
    def end(self, world: "World") -> None:
        world.start()


class Frozen(Fault):
    """SIGSTOP."""

    words: ClassVar[Words] = ("answer",)
    logs = False
    seconds = (15.0, 60.0)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        assert world.daemon is not None
        world.daemon.process.send_signal(signal.SIGSTOP)

    @override
    def end(self, world: "World") -> None:
        assert world.daemon is not None
        world.daemon.process.send_signal(signal.SIGCONT)


class ApplicationKilled(Fault):
    """SIGKILL to the application, in the middle of whatever it does."""

    seconds = (0.0, 3.0)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        world.application.kill()

    @override
    def end(self, world: "World") -> None:
        world.application.start()
        world.application.write("single")


class ClockJumps(Fault):
    """The wall clock is years ahead, or behind; at the end of it, it jumps back."""

    seconds = (10.0, 20.0)

    @classmethod
    @override
    def possible(cls, world: "World") -> bool:
        return world.layer is not None

    @override
    def begin(self, world: "World") -> None:
        assert world.layer is not None
        world.layer.skew(self.rng.choice((-20, -5, -1, 1, 5, 20)) * _YEAR + self.rng.randint(-99999, 99999))

    @override
    def end(self, world: "World") -> None:
        assert world.layer is not None
        world.layer.skew(0)


class MemoryShort(Fault):
    """The address space may hardly grow."""

    style = "bulk"
    may_end = True

    @override
    def begin(self, world: "World") -> None:
        assert world.daemon is not None
        pid = world.daemon.process.pid
        used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (used + self.rng.randint(0, 16 << 20), -1))

    @override
    def end(self, world: "World") -> None:
        if world.daemon is not None and world.daemon.process.poll() is None:
            resource.prlimit(world.daemon.process.pid, resource.RLIMIT_AS, (-1, -1))


class FilesShort(Fault):
    """Not one more descriptor may be opened, while the application opens its database anew all the time."""

    style = "reopening"
    may_end = True

    @override
    def begin(self, world: "World") -> None:
        assert world.daemon is not None
        pid = world.daemon.process.pid
        highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, hard))

    @override
    def end(self, world: "World") -> None:
        if world.daemon is not None and world.daemon.process.poll() is None:
            pid = world.daemon.process.pid
            hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


class DiskFull(Fault):
    """The file system of the state directory has no room, or only little."""

    words: ClassVar[Words] = ("full", "no space")

    @classmethod
    @override
    def possible(cls, world: "World") -> bool:
        return world.mount.real

    @override
    def begin(self, world: "World") -> None:
        world.mount.fill(self.rng.choice((0, 0, 4096, 65536)))

    @override
    def end(self, world: "World") -> None:
        world.mount.widen()


class LayerFault(Fault):
    """Calls on files fail; see preload."""

    errno: ClassVar[int] = errno.EIO
    writing: ClassVar[bool] = True
    reading: ClassVar[bool] = False
    opening: ClassVar[bool] = False

    @classmethod
    @override
    def possible(cls, world: "World") -> bool:
        return world.layer is not None

    def below(self, world: "World") -> Path:
        """Of which files."""
        return world.state_dir

    @override
    def begin(self, world: "World") -> None:
        assert world.layer is not None
        code = self.errno
        world.layer.fail(
            self.below(world),
            writing=code * self.writing,
            reading=code * self.reading,
            opening=code * self.opening,
        )

    @override
    def end(self, world: "World") -> None:
        assert world.layer is not None
        world.layer.mend()


class WriteErrors(LayerFault):
    """EIO for every write to the state directory."""

    words: ClassVar[Words] = ("i/o", "input/output")


class ReadErrors(LayerFault):
    """EIO for every read from the state directory."""

    writing, reading = False, True
    words: ClassVar[Words] = ("i/o", "input/output")


class ReadOnly(LayerFault):
    """The state's file system was remounted read-only, as ext4 does to itself: EROFS."""

    errno = errno.EROFS
    words: ClassVar[Words] = ("read-only", "readonly", "unable to open", "i/o")


class ShadowErrors(LayerFault):
    """EIO for every write to the shadow only."""

    words: ClassVar[Words] = ("input/output",)

    @override
    def below(self, world: "World") -> Path:
        return next(world.state_dir.rglob("shadow*"), world.state_dir)


class ReadOnlyStart(Fault):
    """The daemon is started over a state directory that is mounted read-only."""

    words: ClassVar[Words] = ("read-only", "stopped")
    may_end = True

    @classmethod
    @override
    def possible(cls, world: "World") -> bool:
        return world.mount.real

    @override
    def begin(self, world: "World") -> None:
        world.stop()
        time.sleep(0.2)
        world.mount.write_protect(protected=True)
        world.start()

    @override
    def end(self, world: "World") -> None:
        world.mount.write_protect(protected=False)


class SourceErrors(LayerFault):
    """EIO for every read of the database's files."""

    writing, reading = False, True
    words: ClassVar[Words] = ("input/output",)

    @override
    def below(self, world: "World") -> Path:
        return world.database


class Unreadable(LayerFault):
    """Its permissions are taken away (no mode stops root, who runs this), and the application reopens."""

    errno = errno.EACCES
    writing, opening = False, True
    words: ClassVar[Words] = ("permission denied",)
    style = "reopening"

    @override
    def below(self, world: "World") -> Path:
        return world.database


class Gone(Fault):
    """The application closes its database and deletes it; then it begins a new one."""

    words: ClassVar[Words] = ("does not exist",)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        world.application.ask("close")
        remove(world.database)

    @override
    def end(self, world: "World") -> None:
        world.application.ask("open")
        world.application.write("single")


class Moved(Fault):
    """The database is moved away, and back later."""

    words: ClassVar[Words] = ("does not exist",)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        world.application.ask("close")
        world.database.rename(world.database.with_name("moved.db"))

    @override
    def end(self, world: "World") -> None:
        world.database.with_name("moved.db").rename(world.database)
        world.application.ask("open")
        world.application.write("single")


class Replaced(Fault):
    """The application goes back to a backup that it made a moment ago, over the old file or in its place."""

    seconds = (2.0, 4.0)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        self._backup = world.database.with_name("backup.db")
        world.application.ask("backup", to=str(self._backup))
        world.application.write("bursts")

    @override
    def end(self, world: "World") -> None:
        world.application.ask("close")
        for suffix in ("-wal", "-shm", "-journal"):
            world.database.with_name(world.database.name + suffix).unlink(missing_ok=True)
        if self.rng.random() < 0.5:
            self._backup.replace(world.database)
        else:
            shutil.copyfile(self._backup, world.database)
        world.application.ask("open")
        world.application.write("single")


class PulledAway(Fault):
    """The file is unlinked while the application has it open, and another lies there a moment later."""

    seconds = (3.0, 6.0)
    style = ""

    @override
    def begin(self, world: "World") -> None:
        backup = world.database.with_name("backup.db")
        world.application.ask("backup", to=str(backup))
        world.application.write("single")
        world.pass_time(1.0)
        world.application.ask("pause")
        for path in (world.database, *(Path(f"{world.database}{end}") for end in ("-wal", "-shm"))):
            path.unlink(missing_ok=True)
        backup.rename(world.database)

    @override
    def end(self, world: "World") -> None:
        world.application.ask("open")
        world.application.write("single")


class StateGone(Fault):
    """The state directory's files are deleted below the running daemon."""

    words: ClassVar[Words] = ("deleted", "stopped")
    anew = True
    seconds = (8.0, 12.0)

    @override
    def begin(self, world: "World") -> None:
        for path in world.state_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @override
    def end(self, world: "World") -> None:
        pass


class StateRolledBack(Fault):
    """The state directory goes back to a copy made some seconds before, as a restored machine has it."""

    anew = True
    seconds = (4.0, 10.0)

    @override
    def begin(self, world: "World") -> None:
        world.kill()
        self._copy = world.directory / "state-copy"
        shutil.copytree(world.state_dir, self._copy, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        world.start()

    @override
    def end(self, world: "World") -> None:
        world.kill()
        for path in world.state_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._copy, world.state_dir, dirs_exist_ok=True)
        world.state_dir.chmod(0o700)
        shutil.rmtree(self._copy)
        world.start()


def remove(database: Path) -> None:
    """The file, and those beside it."""
    for path in (database, *(Path(f"{database}{end}") for end in ("-wal", "-shm", "-journal"))):
        path.unlink(missing_ok=True)


PROCESS: Final = (Killed, Down, Frozen, ApplicationKilled, ClockJumps, MemoryShort, FilesShort)
DISK: Final = (DiskFull, WriteErrors, ReadErrors, ReadOnly, ShadowErrors, ReadOnlyStart)
SOURCE: Final = (SourceErrors, Unreadable, Gone, Moved, Replaced, PulledAway)
STATE: Final = (StateGone, StateRolledBack)
