"""A slice of the enumeration, and that it sees what it is there to see.

All of it: python -m tests.crashes
"""

import asyncio
import os
from pathlib import Path

import pytest

from syncd import durable
from syncd.errors import StateError
from syncd.source.shadow import Shadow
from tests.crashes import files, verbs
from tests.crashes.points import End
from tests.crashes.scenario import Scenario, Stage
from tests.crashes.scenarios import SCENARIOS
from tests.crashes.world import World

CASES = {"verify and drill": 4, "prune": 6, "restore": 7}
MOST = 10
SEED = 5


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
async def test_nothing_is_lost_and_nothing_left(scenario: Scenario, room: Path) -> None:
    stage = Stage(scenario, room)
    await stage.prepare()
    whole = await stage.play()
    assert whole.wrong == ()
    cases = whole.cases()
    step = max(1, len(cases) // CASES.get(scenario.name, MOST))
    burnt = 0
    for at, end in cases[SEED % step :: step]:
        case = await stage.play(at, end)
        assert case.wrong == (), f"{end.value} at {at}: {case.burnt}"
        burnt += case.burnt is not None
    assert burnt


async def found(scenario: Scenario, directory: Path, end: End) -> set[str]:
    """Everything that was wrong, after that end at any point."""
    stage = Stage(scenario, directory)
    await stage.prepare()
    points = (await stage.play()).points
    wrong: set[str] = set()
    for at in range(1, len(points) + 1):
        wrong |= set((await stage.play(at, end)).wrong)
    return wrong


async def test_it_sees_a_file_that_is_written_in_place(room: Path) -> None:
    async def act(world: World) -> None:
        with (world.out / "kit.txt").open("wb", buffering=0) as file:
            file.write(b"1234567890")

    async def after(_world: World, left: World, _end: End) -> list[str]:
        path = left.out / "kit.txt"
        return ["half-written"] if path.exists() and path.read_bytes() != b"1234567890" else []

    wrong = await found(Scenario("in place", verbs.nothing, act, after), room, End.DIE)
    assert wrong == {"half-written"}


async def test_it_sees_a_failure_that_is_not_translated(room: Path) -> None:
    async def act(world: World) -> None:
        durable.make_directory(world.out / "made")

    wrong = await found(Scenario("untranslated", verbs.nothing, act), room, End.FAIL)
    assert {each.partition(",")[0] for each in wrong} == {
        "OSError reached the surface: [Errno 28] No space left on device",
        "OSError reached the surface: [Errno 5] Input/output error",
    }


async def test_it_sees_a_file_closed_under_a_thread(room: Path) -> None:
    async def act(world: World) -> None:
        shadow = Shadow(world.out / "shadow.db", 512)
        try:
            await asyncio.to_thread(shadow.apply, {1: bytes(512)}, 1)
        finally:
            shadow.close()

    wrong = await found(Scenario("closed", verbs.nothing, act), room, End.CANCEL)
    assert "out/shadow.db was closed under a call that used it" in wrong


async def test_it_sees_a_sync_that_is_believed_at_the_second_time(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Shadow.sync did before: the redo went, though the pages had been dropped."""

    def sync(shadow: Shadow) -> None:
        try:
            os.fsync(shadow.fd)
        except OSError as e:
            raise StateError("it failed") from e

    capture = next(each for each in SCENARIOS if each.name == "capture")
    stage = Stage(capture, room)
    await stage.prepare()
    monkeypatch.setattr(Shadow, "sync", sync)
    cases = [await stage.play(at, End.FAIL, what="fsync state/shadow.db") for at in (1, 2)]
    assert [str(case.burnt) for case in cases] == ["fsync state/shadow.db"] * 2
    assert "the generation was given up" in cases[0].wrong + cases[1].wrong


async def test_it_sees_what_is_left_over(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "abandoned", lambda *_, **__: [])
    change = next(each for each in files.SCENARIOS if each.name == "change of recipients")
    wrong = await found(change, room, End.DIE)
    assert wrong
    assert all(each.endswith(".partial was left over") for each in wrong)
