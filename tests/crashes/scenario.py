"""A scenario: what there is before, what is done while the fuse burns, and what must be true after."""

import asyncio
import shutil
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from syncd import replicate, snapshot
from syncd.errors import SyncdError
from syncd.state import database
from tests.crashes.patches import installed
from tests.crashes.points import DEATHS, Died, End, Fuse, Interrupted, Point
from tests.crashes.world import Claims, World, age, claims, goes_on

_SECONDS: Final = 60.0
_THREADS: Final = 8


async def _check(_world: World, left: World, _end: End) -> list[str]:
    return [] if left.directory.exists() else ["nothing is left"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One verb, or a few.

    `after` looks at what lies there right after the end, then a fresh process goes on in any case. `plain`
    code has no loop, and runs in a thread. An outage lasts for so many points; None is to the end.
    """

    name: str
    prepare: Callable[[World], Awaitable[None]]
    act: Callable[[World], Awaitable[None]]
    after: Callable[[World, World, End], Awaitable[list[str]]] = _check
    plain: bool = False
    lasts: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One run: the points it passed, where the fuse burnt, and what was wrong."""

    points: tuple[Point, ...]
    burnt: Point | None
    wrong: tuple[str, ...]

    def cases(self) -> list[tuple[int, End]]:
        """Every point with every end that it can have."""
        return [(at, end) for at, point in enumerate(self.points, 1) for end in point.ends()]


class Stage:
    """Runs a scenario again and again, each time in a fresh copy of what there is before."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self._scenario = scenario
        self._directory = directory
        self._before = World(directory / "before")
        self._threads = ThreadPoolExecutor(_THREADS)

    async def prepare(self) -> None:
        """Make what there is before."""
        self._before.directory.mkdir()
        self._before.out.mkdir()
        with small():
            await self._scenario.prepare(self._before)

    async def play(self, at: int = 0, end: End = End.FAIL, *, what: str = "") -> Case:
        """One run, that ends at point `at` (of those of that text) in that way, and what comes after."""
        directory = self._directory / "now"
        shutil.copytree(self._before.directory, directory)
        world = self._before.at(directory)
        fuse = Fuse(
            directory,
            self._directory / "left",
            before=self._before.directory,
            at=at,
            end=end,
            what=what,
            interrupts=self._scenario.plain,
            lasts=self._scenario.lasts,
        )
        try:
            with small():
                wrong = await self._run(world, fuse, end)
                left = world.at(fuse.left if fuse.left.exists() else directory)
                claimed = claims(world, left)
                age(left.directory)
                wrong += [] if wrong else await self._judge(world, left, claimed, end)
        finally:
            for each in ("now", "left", "now-fold", "left-fold"):
                shutil.rmtree(self._directory / each, ignore_errors=True)
        return Case(tuple(fuse.points), fuse.burnt, tuple(wrong + fuse.wrong))

    async def _run(self, world: World, fuse: Fuse, end: End) -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(partial(_note, fuse))
        with installed(fuse), ThreadPoolExecutor(_THREADS) as threads:  # at its end all calls have ended
            loop.set_default_executor(threads)
            world.fuse = fuse
            task = fuse.task = asyncio.ensure_future(self._act(world))
            _, pending = await asyncio.wait([task], timeout=_SECONDS)
        loop.set_default_executor(self._threads)
        world.fuse = None
        if pending:
            task.cancel()
            return ["it hangs"]
        if task.cancelled():
            return [] if fuse.burnt else ["it was cancelled by nobody"]
        if fuse.burnt and end in DEATHS:
            task.exception()  # of a process that is no more
            return []
        match task.exception():
            case None:
                return []
            case SyncdError() if fuse.burnt:
                return []
            case error:
                return [f"{type(error).__name__} reached the surface: {error}, {_where(error)}"]

    async def _act(self, world: World) -> None:
        try:
            await self._scenario.act(world)
        except Interrupted:
            raise asyncio.CancelledError from None

    async def _judge(self, world: World, left: World, claimed: Claims, end: End) -> list[str]:
        try:
            return await self._scenario.after(world, left, end) or await goes_on(left, claimed)
        except SyncdError as e:
            return [f"afterwards: {e}"]


def _where(error: BaseException) -> str:
    """The last line of ours that it came through."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/syncd/" in each.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "in a test"


def _note(fuse: Fuse, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody waited for."""
    error = context.get("exception")
    if not isinstance(error, Died | BaseExceptionGroup):
        fuse.wrong.append(f"{context['message']}: {error!r}")


@contextmanager
def small() -> Iterator[None]:
    """Limits that a database of a few pages reaches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "_PACK_BYTES", 48 << 10)
        patch.setattr(replicate, "_PIECE_BYTES", 48 << 10)
        patch.setattr(replicate, "_REDO_BYTES", 64 << 10)
        patch.setattr(database, "_MERGE_AFTER", 2)
        yield
