"""The connection to syncd's own database, and its transactions."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiosqlite

from syncd.clock import to_completion
from syncd.errors import StateError


class Run(Protocol):
    """Adds a statement to a transaction."""

    def __call__(self, statement: str, /, *values: object) -> None:
        """See the class."""
        ...


class Connection:
    """One connection, shared by several tasks. Raises StateError."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._db = connection
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection; waits for a running statement."""
        await self._db.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Run]:
        """Collect statements, then run them all or none.

        One connection serves several tasks, and a task may be cancelled at any point: a transaction
        that has begun is always brought to its end before the cancellation goes on.
        """
        statements: list[tuple[str, tuple[object, ...]]] = []
        yield lambda statement, *values: statements.append((statement, values))
        async with self._lock:
            await to_completion(self._apply(statements))

    async def _apply(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        try:
            await self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    await self._db.execute(statement, values)
                await self._db.execute("COMMIT")
            except sqlite3.Error:
                await self._db.rollback()
                raise
        except sqlite3.Error as e:
            raise _translate(e) from e

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Under the lock: the same connection would see another task's unfinished transaction."""
        async with self._lock:
            try:
                return [tuple(row) for row in await self._db.execute_fetchall(query, values)]
            except sqlite3.Error as e:
                raise _translate(e) from e


def _translate(e: sqlite3.Error) -> StateError:
    return StateError(f"syncd's own state could not be written or read: {e}", hint="check its disk")
