"""The application's own file, checked through the shadow while capture goes on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.clock import to_completion
from syncd.errors import StateError
from syncd.log import Event
from syncd.replica import Replica
from syncd.source.integrity import check_integrity
from syncd.verify import check_shadow, shadow
from tests.verbs.bench import Bench

ROW = "INSERT INTO t (a) VALUES (randomblob(3000))"


@pytest.fixture
async def replica(bench: Bench) -> AsyncIterator[Replica]:
    async with bench.replica() as replica:
        yield replica


def files(bench: Bench) -> set[str]:
    return {path.name for path in bench.state.iterdir()}


async def test_a_sound_database(bench: Bench, replica: Replica) -> None:
    await bench.capture(replica)
    before = files(bench)
    assert await check_shadow(replica) == []
    (line,) = bench.log.of(Event.SOURCE_CHECKED)
    assert line["pages"] == replica.shadow.page_count
    assert files(bench) == before
    assert replica.shadow.views == []


async def test_silent_corruption_is_found(bench: Bench, replica: Replica) -> None:
    for _ in range(5):
        bench.sql(ROW)
    raw = bytearray(bench.path.read_bytes())
    size = int.from_bytes(raw[16:18])
    raw[size : 2 * size] = b"\xee" * size
    raw[27] ^= 1  # as if the application had written it
    bench.path.write_bytes(raw)
    await bench.capture(replica)
    problems = await check_shadow(replica)
    assert problems
    (line,) = bench.log.of(Event.SOURCE_CORRUPT)
    assert line["problems"] == problems


async def test_capture_goes_on_meanwhile(
    bench: Bench, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk the application rewrites everything: what is checked is the state at the start."""
    for _ in range(5):
        bench.sql(ROW)
    await bench.capture(replica)
    before = bench.path.read_bytes()
    monkeypatch.setattr(shadow, "_CHUNK_BYTES", 1)
    copied: list[bytes] = []
    turns = 0

    async def busy(work: object) -> None:
        nonlocal turns
        turns += 1
        if turns in {1, 3}:
            bench.sql("UPDATE t SET a = randomblob(3000)")
            await bench.capture(replica)
        await to_completion(work)  # type: ignore[arg-type]

    async def look(path: Path, *, quick: bool) -> object:
        copied.append(path.read_bytes())
        return await check_integrity(path, quick=quick)

    monkeypatch.setattr(shadow, "to_completion", busy)
    monkeypatch.setattr(shadow, "check_integrity", look)
    assert await check_shadow(replica) == []
    assert copied == [before]
    assert bench.path.read_bytes() != before


async def test_litter_of_a_killed_check_goes(bench: Bench, replica: Replica) -> None:
    await bench.capture(replica)
    litter = bench.state / ".check.abc.partial"
    litter.write_bytes(b"x")
    await check_shadow(replica)
    assert not litter.exists()


async def test_before_the_first_copy(replica: Replica) -> None:
    with pytest.raises(StateError, match="nothing to check"):
        await check_shadow(replica)


async def test_no_room(bench: Bench, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.capture(replica)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 0})())
    with pytest.raises(StateError, match="0 free"):
        await check_shadow(replica)
    assert replica.shadow.views == []
