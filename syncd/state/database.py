"""The connection, its transactions, and everything that changes the state."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import aiosqlite

from syncd.clock import to_completion
from syncd.errors import StateError
from syncd.format.delta import SealedDelta
from syncd.state.records import TARGETS_QUERY, Chain, Outgoing, Redo, TargetState, chain_of, target_of

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE chain (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    generation TEXT NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    page_size INTEGER NOT NULL, page_count INTEGER NOT NULL, boundary INTEGER NOT NULL,
    position TEXT NOT NULL, captured_ms INTEGER NOT NULL, next_epoch INTEGER NOT NULL
);
CREATE TABLE delta (
    seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, sealed BLOB NOT NULL, size INTEGER NOT NULL,
    boundary INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL
);
CREATE TABLE redo (
    seq INTEGER NOT NULL, part INTEGER NOT NULL, page_size INTEGER NOT NULL, page_count INTEGER NOT NULL,
    rebase INTEGER NOT NULL, images BLOB NOT NULL, PRIMARY KEY (seq, part)
);
CREATE TABLE epoch (number INTEGER PRIMARY KEY, object BLOB NOT NULL);
CREATE TABLE target (
    name TEXT PRIMARY KEY, url TEXT NOT NULL, in_use INTEGER NOT NULL,
    cursor INTEGER, snapshot INTEGER, stored INTEGER, stored_ms INTEGER, captured_ms INTEGER,
    epoch INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'waiting', error TEXT NOT NULL DEFAULT '', error_ms INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE source (
    one INTEGER PRIMARY KEY CHECK (one = 1), path TEXT NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,
    error_ms INTEGER NOT NULL
);
"""


class Run(Protocol):
    """Adds a statement to a transaction."""

    def __call__(self, statement: str, /, *values: object) -> None:
        """See the class."""
        ...


class State:
    """One database's state; make it with `open_state`. Raises StateError."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._db = connection
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection; waits for a running statement."""
        await self._db.close()

    async def chain(self) -> Chain | None:
        """Where the chain stands, None before the first copy is complete."""
        rows = await self._rows("SELECT * FROM chain")
        return chain_of(rows[0]) if rows else None

    async def begin_chain(self, chain: Chain) -> None:
        """Start a generation: whatever was on its way belongs to an earlier one and goes."""
        async with self._transaction() as run:
            for table in ("chain", "delta", "redo", "epoch"):
                run(f"DELETE FROM {table}")  # noqa: S608 - the names stand above
            run(
                "UPDATE target SET cursor = NULL, snapshot = NULL, stored = NULL, epoch = 0,"
                " state = 'waiting', error = ''"
            )
            _put_chain(run, chain)

    async def move(self, position: str) -> None:
        """The application's files moved on, the database did not change."""
        async with self._transaction() as run:
            run("UPDATE chain SET position = ?", position)

    async def commit_delta(self, chain: Chain, outgoing: Outgoing, redo: Sequence[Redo]) -> None:
        """Acknowledge a batch: from here on it is not lost."""
        delta = outgoing.sealed
        async with self._transaction() as run:
            run(
                "INSERT INTO delta VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(delta.seq, delta.epoch, delta.sealed, len(delta.sealed)),
                *(outgoing.boundary, outgoing.first_ms, outgoing.last_ms),
            )
            for part, row in enumerate(redo):
                run(
                    "INSERT INTO redo VALUES (?, ?, ?, ?, ?, ?)",
                    *(row.seq, part, row.page_size, row.page_count, row.rebase, row.images),
                )
            # A target that has not begun will begin with a snapshot: nobody needs a delta before.
            run("DELETE FROM delta WHERE NOT EXISTS (SELECT 1 FROM target WHERE in_use AND cursor NOT NULL)")
            _put_chain(run, chain)

    async def redo(self) -> AsyncIterator[Redo]:
        """What may have to be applied to the shadow again, in order."""
        keys = await self._rows("SELECT seq, part FROM redo ORDER BY seq, part")
        for key in keys:
            query = "SELECT seq, page_size, page_count, rebase, images FROM redo WHERE seq = ? AND part = ?"
            for row in await self._rows(query, *key):
                yield Redo(row[0], row[1], row[2], bool(row[3]), row[4])

    async def trim_redo(self, seq: int) -> None:
        """The shadow is durable up to this delta."""
        async with self._transaction() as run:
            run("DELETE FROM redo WHERE seq <= ?", seq)

    async def next_epoch(self) -> int:
        """A number that no epoch of this generation ever had, even if the process dies now."""
        async with self._transaction() as run:
            run("UPDATE chain SET next_epoch = next_epoch + 1")
        rows = await self._rows("SELECT next_epoch FROM chain")
        return int(rows[0][0])

    async def add_epoch(self, number: int, wrapped: bytes) -> None:
        """Keep the wrapped key until the targets have it."""
        async with self._transaction() as run:
            run("INSERT INTO epoch VALUES (?, ?)", number, wrapped)

    async def epochs(self, after: int) -> list[tuple[int, bytes]]:
        """Wrapped keys with larger numbers, in order."""
        rows = await self._rows("SELECT number, object FROM epoch WHERE number > ? ORDER BY number", after)
        return [(row[0], row[1]) for row in rows]

    async def outgoing(self, after: int, most_bytes: int, most: int = 4096) -> list[Outgoing]:
        """Deltas behind `after` in order: at least one if there is any, else bounded both ways."""
        sizes = await self._rows(
            "SELECT seq, size FROM delta WHERE seq > ? ORDER BY seq LIMIT ?", after, most
        )
        last, total = after, 0
        for seq, size in sizes:
            total += size
            if total > most_bytes and last > after:
                break
            last = seq
        rows = await self._rows(
            "SELECT seq, epoch, sealed, boundary, first_ms, last_ms FROM delta"
            " WHERE seq > ? AND seq <= ? ORDER BY seq",
            *(after, last),
        )
        return [Outgoing(SealedDelta(r[0], r[1], r[2]), bool(r[3]), r[4], r[5]) for r in rows]

    async def use_targets(self, targets: Sequence[tuple[str, str]]) -> None:
        """Exactly these (name, URL) are in use. One whose URL changed begins anew."""
        async with self._transaction() as run:
            run("UPDATE target SET in_use = 0")
            for name, url in targets:
                run("DELETE FROM target WHERE name = ? AND url <> ?", name, url)
                run(
                    "INSERT INTO target (name, url, in_use) VALUES (?, ?, 1)"
                    " ON CONFLICT (name) DO UPDATE SET in_use = 1, state = 'waiting'",
                    *(name, url),
                )

    async def target(self, name: str) -> TargetState:
        """One target's state."""
        return target_of((await self._rows(TARGETS_QUERY + " WHERE t.name = ?", name))[0])

    async def has_gap(self, cursor: int) -> bool:
        """Whether deltas that a target at `cursor` needs are gone already."""
        rows = await self._rows("SELECT min(seq) FROM delta")
        chain = await self.chain()
        seq = chain.seq if chain else 0
        first = rows[0][0]
        return cursor > seq or (first > cursor + 1 if first is not None else seq > cursor)

    async def begin_snapshot(self, name: str, seq: int) -> None:
        """Deltas behind `seq` are kept for this target from now on."""
        async with self._transaction() as run:
            run("UPDATE target SET cursor = ?, snapshot = NULL WHERE name = ?", seq, name)

    async def end_snapshot(self, name: str, seq: int, captured_ms: int, now_ms: int) -> None:
        """The snapshot is complete: its position can be restored from there."""
        async with self._transaction() as run:
            run(
                "UPDATE target SET snapshot = ?1, stored = ?1, stored_ms = ?2, captured_ms = ?3,"
                " state = 'ok', error = '' WHERE name = ?4",
                *(seq, now_ms, captured_ms, name),
            )
            _trim(run)

    async def set_epoch(self, name: str, number: int) -> None:
        """The target has this wrapped key and all before it."""
        async with self._transaction() as run:
            run("UPDATE target SET epoch = ? WHERE name = ?", number, name)

    async def stored(self, name: str, sent: Sequence[Outgoing], now_ms: int) -> None:
        """The target has these deltas; what nobody needs any more goes."""
        async with self._transaction() as run:
            run(
                "UPDATE target SET cursor = ?, state = 'ok', error = '' WHERE name = ?",
                *(sent[-1].sealed.seq, name),
            )
            for delta in reversed(sent):
                if delta.boundary:
                    run(
                        "UPDATE target SET stored = ?, stored_ms = ?, captured_ms = ? WHERE name = ?",
                        *(delta.sealed.seq, now_ms, delta.last_ms, name),
                    )
                    break
            _trim(run)

    async def set_target(self, name: str, state: str, error: str = "", now_ms: int = 0) -> None:
        """For `status`: what the target is doing, and its last error."""
        async with self._transaction() as run:
            if error:
                run(
                    "UPDATE target SET state = ?, error = ?, error_ms = ? WHERE name = ?",
                    *(state, error, now_ms, name),
                )
            else:
                run("UPDATE target SET state = ?, error = '' WHERE name = ?", state, name)

    async def set_source(self, path: str, state: str, error: str = "", now_ms: int = 0) -> None:
        """For `status`: what capture is doing, and its last error."""
        async with self._transaction() as run:
            run("INSERT OR REPLACE INTO source VALUES (1, ?, ?, ?, ?)", path, state, error, now_ms)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Run]:
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

    async def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Under the lock: the same connection would see another task's unfinished transaction."""
        async with self._lock:
            try:
                return [tuple(row) for row in await self._db.execute_fetchall(query, values)]
            except sqlite3.Error as e:
                raise _translate(e) from e


async def open_state(path: Path) -> State:
    """Open or create the state of one database. Raises StateError."""
    try:
        await asyncio.to_thread(path.touch, mode=0o600)
        connection = await aiosqlite.connect(path, isolation_level=None)
        try:
            await _prepare(connection, path)
        except BaseException:
            await connection.close()
            raise
    except (sqlite3.Error, OSError) as e:
        raise StateError(f"{path} cannot be used: {e}", hint="check the state directory and its disk") from e
    return State(connection)


async def _prepare(connection: aiosqlite.Connection, path: Path) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 16777216"):
        # All rows are fetched: a statement left in progress keeps later transactions from committing.
        await connection.execute_fetchall(f"PRAGMA {pragma}")
    rows = list(await connection.execute_fetchall("PRAGMA user_version"))
    version = int(rows[0][0])
    if version == 0:
        await connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    elif version != _VERSION:
        raise StateError(
            f"{path} was made by another version of syncd (schema {version}, not {_VERSION})",
            hint="use that version, or remove the state directory to begin a new generation",
        )


def _trim(run: Run) -> None:
    """Drop what every target in use has; one that has not begun will begin with a snapshot."""
    least = "(SELECT min(cursor) FROM target WHERE in_use = 1 AND cursor IS NOT NULL)"
    run(f"DELETE FROM delta WHERE seq <= {least}")  # noqa: S608 - constants
    run(
        "DELETE FROM epoch WHERE number < (SELECT max(number) FROM epoch)"
        " AND number < coalesce((SELECT min(epoch) FROM delta), number + 1)"
        " AND number <= (SELECT min(epoch) FROM target WHERE in_use = 1 AND cursor IS NOT NULL)"
    )


def _put_chain(run: Run, chain: Chain) -> None:
    run(
        "INSERT INTO chain VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (one) DO UPDATE SET"
        " generation = excluded.generation, seq = excluded.seq, digest = excluded.digest,"
        " page_size = excluded.page_size, page_count = excluded.page_count,"
        " boundary = excluded.boundary, position = excluded.position,"
        " captured_ms = excluded.captured_ms",
        *(chain.generation, chain.seq, bytes(chain.digest), chain.page_size, chain.page_count),
        *(chain.boundary, chain.position, chain.captured_ms),
    )


def _translate(e: sqlite3.Error) -> StateError:
    return StateError(f"syncd's own state could not be written or read: {e}", hint="check its disk")
