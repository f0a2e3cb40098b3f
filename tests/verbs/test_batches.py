"""When batches close, under an application that never pauses."""

import asyncio
from itertools import pairwise

import pytest

from syncd.replicate import Replicator
from syncd.source.capture import Capture, Progress
from syncd.source.pending import Piece
from tests.verbs.bench import Bench

MAX_DELAY = 5.0
POLL_SECONDS = 0.01


def progress(*, boundary: bool = True, full: bool = False) -> Progress:
    return Progress(dirty=True, boundary=boundary, full=full, settled=True, first_ms=0)


async def closings(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, polls: list[Progress], *, way: float = 0
) -> list[tuple[float, bool]]:
    """The seconds at which pieces were sealed, and whether at a boundary; every poll takes a moment."""
    sealed: list[tuple[float, bool]] = []
    waiting = iter(polls)
    now = progress()
    start = bench.clock.seconds

    async def poll(_: Replicator) -> Progress:
        nonlocal now
        bench.clock.advance(POLL_SECONDS)
        try:
            now = next(waiting)
        except StopIteration:
            raise asyncio.CancelledError from None
        return now

    async def seal(_: Replicator, _piece: Piece) -> None:
        sealed.append((bench.clock.seconds - start, now.boundary))

    async with bench.replica() as replica:
        await bench.capture(replica)
        replica.way = way
        start = bench.clock.seconds
        monkeypatch.setattr(Replicator, "_poll", poll)
        monkeypatch.setattr(Replicator, "_seal", seal)
        replicator = bench.replicator(replica)
        try:
            with pytest.raises(asyncio.CancelledError):
                await replicator.run()
        finally:
            await replicator.close()
    return sealed


async def test_a_batch_stays_open_for_its_delay_though_the_application_never_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = await closings(bench, monkeypatch, [progress()] * 1000)
    times = [seconds for seconds, _ in sealed]
    assert len(times) >= 5
    assert all(MAX_DELAY <= later - earlier < MAX_DELAY + 0.2 for earlier, later in pairwise(times))


async def test_the_first_batch_after_a_silence_waits_only_for_what_belongs_to_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, _), *_ = await closings(bench, monkeypatch, [progress()] * 60)
    assert MAX_DELAY * 0.1 <= first < MAX_DELAY * 0.1 + 0.1


@pytest.mark.parametrize(("way", "lead"), [(0.2, 0.2), (60.0, MAX_DELAY / 4)])
async def test_batches_close_earlier_by_what_the_way_takes_but_not_for_a_slow_target(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, way: float, lead: float
) -> None:
    sealed = await closings(bench, monkeypatch, [progress()] * 1000, way=way)
    times = [seconds for seconds, _ in sealed]
    assert len(times) >= 5
    assert all(-0.01 <= later - earlier - MAX_DELAY + lead < 0.1 for earlier, later in pairwise(times))


async def test_the_end_of_a_batch_that_went_out_in_pieces_waits_no_longer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = [progress()] * 6  # at 60 ms each: the batch is young
    pieces = [progress(boundary=False, full=True)] * 500
    sealed = await closings(bench, monkeypatch, [*wait, *pieces, progress()])
    boundaries = [boundary for _, boundary in sealed]
    assert boundaries == [False] * 500 + [True]


@pytest.mark.parametrize(("stirs", "apart"), [(True, 0.05), (False, 0.4)])
async def test_a_look_waits_longer_while_glances_see_little(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stirs: bool, apart: float
) -> None:
    """And what opens a batch is always looked at as soon as it is seen."""
    monkeypatch.setattr(Capture, "stirs", lambda _, *, first: stirs or first)
    sealed = await closings(bench, monkeypatch, [progress()] * 1000)
    assert len(sealed) == pytest.approx(1000 * (apart + POLL_SECONDS) / MAX_DELAY, rel=0.15)
