"""Fetching ahead: in order, bounded, and nothing left behind."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.ahead import ahead


class Fetcher:
    """Fetches numbers; each ends when the loop has gone round that often."""

    def __init__(self, delays: Sequence[int], broken: int | None = None) -> None:
        self._delays = delays
        self._broken = broken
        self.running: set[int] = set()
        self.largest = 0
        self.cancelled: list[int] = []

    async def __call__(self, number: int) -> int:
        self.running.add(number)
        self.largest = max(self.largest, len(self.running))
        try:
            for _ in range(self._delays[number]):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.running.discard(number)
        if number == self._broken:
            raise KeyError(number)
        return number * number


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 6), st.integers(1, 100))
async def test_all_in_order_and_never_too_many(delays: list[int], most: int, most_bytes: int) -> None:
    fetcher = Fetcher(delays)
    got: list[tuple[int, int]] = []
    async for ready in ahead(
        range(len(delays)), fetcher, cost=lambda _: 10, most_bytes=most_bytes, most=most
    ):
        assert ready
        got += ready
    assert got == [(n, n * n) for n in range(len(delays))]
    assert fetcher.largest <= min(most, max(1, most_bytes // 10))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.data())
async def test_what_fails_fails_in_its_turn(delays: list[int], data: st.DataObject) -> None:
    broken = data.draw(st.integers(0, len(delays) - 1))
    fetcher = Fetcher(delays, broken)
    got: list[int] = []

    async def consume() -> None:
        async for ready in ahead(range(len(delays)), fetcher, cost=lambda _: 1, most_bytes=8, most=8):
            got.extend(number for number, _ in ready)

    with pytest.raises(KeyError):
        await consume()
    assert got == list(range(broken))
    assert not fetcher.running


async def test_an_early_end_cancels_what_is_in_flight() -> None:
    fetcher = Fetcher([0, 10_000, 10_000])
    lists = ahead(range(3), fetcher, cost=lambda _: 1, most_bytes=8, most=8)
    assert await anext(lists) == [(0, 0)]
    await lists.aclose()
    assert sorted(fetcher.cancelled) == [1, 2]
    assert not fetcher.running
