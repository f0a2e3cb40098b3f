"""syncd and Litestream behind one small interface, each a process of its own beside one database.

- Both get the same batch interval, the same store and the same meter before it; otherwise their defaults.
- A commit counts as stored when the PUT that carries it was answered, as the meter saw it, for both. Which
  commits a PUT carries: syncd logs how many commits each delta has, and which deltas were stored together;
  Litestream's level-0 files say in their header where in which WAL they end, and the writer noted where each
  of its commits ended.
- CPU and memory are those of the tool's process, from /proc; the meter, the server and the writer are others.
"""

import contextlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from tests.bench.meter import FileMeter, Meter, S3Meter
from tests.campaigns.rig import Depot, Usage, open_depot, usage_of

PATIENCE = 3600.0
_LOOK = 0.05
_STORED = 180.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Commit:
    """When it was made (seconds of the wall clock), and where in which WAL it ended."""

    at: float
    salt: int
    frame: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took: seconds, MB of resident memory at its peak, seconds of CPU."""

    seconds: float
    peak_mb: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where both tools store: a server behind the meter, or, without one, directories."""

    meter: S3Meter | None = None

    def depot(self) -> Depot:
        return Depot(self.meter.url if self.meter else "")


@contextlib.contextmanager
def open_place(store: str) -> Iterator[Place]:
    """`file` or `s3`."""
    with open_depot("directory" if store == "file" else store) as depot:
        if not depot.endpoint_url:
            yield Place()
            return
        with S3Meter(int(depot.endpoint_url.rpartition(":")[2])) as meter:
            yield Place(meter)


class Tool(ABC):
    """A tool beside `database`, with all that it needs in `directory`, whose name nobody else has.

    Use as a context manager: at the end its process is gone.
    """

    name: str
    folder: str  # of its archive in `directory`, in a file store
    snapshot_names: re.Pattern[str]  # of the objects that snapshots are made of
    sync_names: re.Pattern[str]  # of those that batches are stored in
    patient = True  # whether `start` waits for all that a tool does at its first start

    def __init__(self, directory: Path, database: Path, place: Place, *, interval: float = 1.0) -> None:
        self.directory = directory
        self.database = database
        self.place = place
        self.interval = interval
        self.meter: Meter = place.meter or FileMeter(directory / self.folder)
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if isinstance(self.meter, FileMeter):
            self._ends.enter_context(self.meter)
        self._ends.callback(self.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @abstractmethod
    def start(self) -> None:
        """Start it; at the first time, until the database as it stands is stored. Raises TimeoutError."""

    @abstractmethod
    def stop(self) -> None:
        """Let it end by itself. Raises RuntimeError where it complains."""

    @abstractmethod
    def kill(self) -> None:
        """End it, if it still runs."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Of its process."""

    @abstractmethod
    def mark(self) -> None:
        """The next commit is the first one that `stored` will be asked for."""

    @abstractmethod
    def stored(self, commits: Sequence[Commit]) -> list[tuple[float, int]]:
        """Moments, in order, and how many of all commits since `mark` were stored then."""

    @abstractmethod
    def wait_level(self, last: Commit) -> None:
        """Until everything up to this commit is stored, also what was written while the tool was away."""

    @abstractmethod
    def snapshot(self) -> None:
        """Take a full snapshot now, and wait until it is stored."""

    @abstractmethod
    def describe(self) -> str:
        """What it has done so far, for who looks into a failure."""

    def comparisons(self) -> int:
        """How often it lost sight of the log, and had to look at the whole database."""
        return 0

    def snapshot_seconds(self) -> float:
        """What the first snapshot took by itself; 0.0 where that is not known."""
        return 0.0

    @abstractmethod
    def restore(self, to: Path) -> Taken:
        """From the store alone. Raises RuntimeError."""

    @abstractmethod
    def is_right(self, restored: Path) -> bool:
        """Whether that is the database. Nobody may be writing."""

    def usage(self) -> Usage:
        return usage_of(self.pid)

    def wait_stored(self, commits: Sequence[Commit]) -> float:
        """Until all these are stored. Returns when that was. Raises TimeoutError."""

        def when() -> float | None:
            return next((at for at, count in self.stored(commits) if count >= len(commits)), None)

        try:
            return wait_for(when, "", _STORED)
        except TimeoutError:
            raise TimeoutError(f"{len(commits)} commits were not stored: {self.describe()}") from None


def wait_for(ask: Callable[[], _T | None], complaint: str, patience: float = PATIENCE) -> _T:
    """What `ask` gives as soon as that is not None. Raises TimeoutError with the complaint."""
    end = time.monotonic() + patience
    while (answer := ask()) is None:
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(_LOOK)
    return answer
