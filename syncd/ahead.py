"""Several things at once, with a bound on what is in flight; `ahead` in order, for who consumes.

- A bound in bytes keeps memory small, one in number keeps a server from being overrun.
- What fails or is cancelled takes the fetches in flight with it; who stops early closes it (`aclosing`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from typing_extensions import AsyncGenerator

_AT_ONCE: Final = 8

_T = TypeVar("_T")
_U = TypeVar("_U")


async def ahead(
    items: Iterable[_T],
    fetch: Callable[[_T], Awaitable[_U]],
    *,
    cost: Callable[[_T], int],
    most_bytes: int,
    most: int,
) -> AsyncGenerator[list[tuple[_T, _U]]]:
    """Each item with what `fetch` gave, in order, in lists of those that are ready together.

    While a list is consumed, the next fetches go on: what is held costs at most twice `most_bytes`, or
    two items where one costs more. What `fetch` raises is raised when its item's turn has come.
    """
    waiting: deque[tuple[_T, asyncio.Future[_U]]] = deque()
    coming = deque(items)
    spent = 0

    def fill() -> None:
        nonlocal spent
        while coming and (not waiting or (spent + cost(coming[0]) <= most_bytes and len(waiting) < most)):
            item = coming.popleft()
            waiting.append((item, asyncio.ensure_future(fetch(item))))
            spent += cost(item)

    try:
        fill()
        while waiting:
            await asyncio.wait([waiting[0][1]])
            ready: list[tuple[_T, _U]] = []
            while waiting and waiting[0][1].done() and not (ready and waiting[0][1].exception()):
                item, future = waiting[0]
                ready.append((item, future.result()))
                waiting.popleft()
                spent -= cost(item)
            fill()
            yield ready
    finally:
        for _, future in waiting:
            future.cancel()
        await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)


async def each(items: Iterable[_T], action: Callable[[_T], Awaitable[None]], *, most: int = _AT_ONCE) -> None:
    """Do `action` for every item, a few at a time. The first error ends it and is raised."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await action(item)

    workers = [asyncio.ensure_future(work()) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
