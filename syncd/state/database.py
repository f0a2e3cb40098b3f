"""The schema, and everything that changes the state but for snapshots and jobs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import aiosqlite

from syncd.errors import StateError
from syncd.format.delta import SealedDelta
from syncd.state.claims import NEW, ClaimTable
from syncd.state.connection import Connection, Run
from syncd.state.jobs import JobTable
from syncd.state.records import (
    CONFLICT,
    TARGETS_QUERY,
    Chain,
    Outgoing,
    Redo,
    Stored,
    TargetState,
    chain_of,
    encode_pages,
    target_of,
)
from syncd.state.snapshots import SnapshotTables, put_head, put_stored, trim

_VERSION: Final = 3
_MERGE_AFTER: Final = 1024  # deltas
_KEPT_OF_A_FULL_OUTBOX: Final = 0.75
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
# What version 2 added: the calendar.
_SECOND: Final = """
ALTER TABLE target ADD COLUMN map BLOB;
ALTER TABLE target ADD COLUMN map_seq INTEGER;
ALTER TABLE target ADD COLUMN attempt INTEGER;
ALTER TABLE target ADD COLUMN delta_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE target ADD COLUMN head TEXT NOT NULL DEFAULT '';
ALTER TABLE target ADD COLUMN head_seq INTEGER;
ALTER TABLE target ADD COLUMN head_object TEXT NOT NULL DEFAULT '';
CREATE TABLE changed (seq INTEGER PRIMARY KEY, pages BLOB NOT NULL);
CREATE TABLE pack (
    target TEXT NOT NULL, id BLOB NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL, seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL, page_size INTEGER NOT NULL, pages BLOB NOT NULL, PRIMARY KEY (target, id)
);
CREATE TABLE job (
    name TEXT PRIMARY KEY, last_ms INTEGER NOT NULL, ok INTEGER NOT NULL, detail TEXT NOT NULL
);
"""
# What version 3 added: claims.
_THIRD: Final = """
ALTER TABLE target ADD COLUMN claim INTEGER;
ALTER TABLE target ADD COLUMN claimed TEXT NOT NULL DEFAULT '';
ALTER TABLE target ADD COLUMN beside TEXT NOT NULL DEFAULT '';
"""
_STEPS: Final = (_SCHEMA, _SECOND, _THIRD)


class State:
    """One database's state; make it with `open_state`. Raises StateError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.snapshots = SnapshotTables(connection)
        self.jobs = JobTable(connection)
        self.claims = ClaimTable(connection)
        self._unmerged = 0
        self._outbox_bytes: int | None = None  # at least what is there; counted anew when it matters

    async def close(self) -> None:
        """Close the connection; waits for a running statement."""
        await self._connection.close()

    async def chain(self) -> Chain | None:
        """Where the chain stands, None before the first copy is complete."""
        rows = await self._connection.rows("SELECT * FROM chain")
        return chain_of(rows[0]) if rows else None

    async def begin_chain(self, chain: Chain) -> None:
        """Start a generation: whatever was on its way belongs to an earlier one and goes."""
        async with self._connection.transaction() as run:
            for table in ("chain", "delta", "redo", "epoch", "changed", "pack"):
                run(f"DELETE FROM {table}")  # noqa: S608 - the names stand above
            run(
                "UPDATE target SET cursor = NULL, snapshot = NULL, stored = NULL, epoch = 0,"
                " map = NULL, map_seq = NULL, attempt = NULL, delta_bytes = 0,"
                " head = '', head_seq = NULL, head_object = '', state = 'waiting', error = ''"
            )
            run("UPDATE target SET claimed = ? WHERE claim NOT NULL AND claimed = ''", NEW)
            _put_chain(run, chain)

    async def move(self, position: str) -> None:
        """The application's files moved on, the database did not change."""
        async with self._connection.transaction() as run:
            run("UPDATE chain SET position = ?", position)

    async def commit_delta(
        self, chain: Chain, outgoing: Outgoing, redo: Sequence[Redo], changed: Sequence[int] = ()
    ) -> None:
        """Acknowledge a batch, which changed these pages: from here on it is not lost."""
        delta = outgoing.sealed
        async with self._connection.transaction() as run:
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
            run("INSERT INTO changed VALUES (?, ?)", delta.seq, encode_pages(changed))
            _put_chain(run, chain)
        if self._outbox_bytes is not None:
            self._outbox_bytes += len(delta.sealed)
        self._unmerged += 1
        if self._unmerged >= _MERGE_AFTER:
            self._unmerged = 0
            await self.snapshots.merge_changes()

    async def limit_outbox(self, most_bytes: int) -> int:
        """Drop the oldest deltas where there are more than `most_bytes` of them; how many those were.

        A target that needs them takes a snapshot instead, which ships what changed as a whole.
        """
        if self._outbox_bytes is not None and self._outbox_bytes <= most_bytes:
            return 0
        sizes = await self._connection.rows("SELECT seq, size FROM delta ORDER BY seq DESC")
        kept, dropped, through = 0, 0, -1
        total = sum(size for _, size in sizes)
        for seq, size in sizes if total > most_bytes else ():
            kept += size
            if kept > most_bytes * _KEPT_OF_A_FULL_OUTBOX:
                through = max(through, seq)
                dropped += 1
                total -= size
        if dropped:
            async with self._connection.transaction() as run:
                run("DELETE FROM delta WHERE seq <= ?", through)
        self._outbox_bytes = total
        return dropped

    async def redo(self) -> AsyncIterator[Redo]:
        """What may have to be applied to the shadow again, in order."""
        keys = await self._connection.rows("SELECT seq, part FROM redo ORDER BY seq, part")
        for key in keys:
            query = "SELECT seq, page_size, page_count, rebase, images FROM redo WHERE seq = ? AND part = ?"
            for row in await self._connection.rows(query, *key):
                yield Redo(row[0], row[1], row[2], bool(row[3]), row[4])

    async def trim_redo(self, seq: int) -> None:
        """The shadow is durable up to this delta."""
        async with self._connection.transaction() as run:
            run("DELETE FROM redo WHERE seq <= ?", seq)

    async def next_epoch(self) -> int:
        """A number that no epoch of this generation ever had, even if the process dies now."""
        async with self._connection.transaction() as run:
            run("UPDATE chain SET next_epoch = next_epoch + 1")
        rows = await self._connection.rows("SELECT next_epoch FROM chain")
        return int(rows[0][0])

    async def add_epoch(self, number: int, wrapped: bytes) -> None:
        """Keep the wrapped key until the targets have it."""
        async with self._connection.transaction() as run:
            run("INSERT INTO epoch VALUES (?, ?)", number, wrapped)

    async def epochs(self, after: int) -> list[tuple[int, bytes]]:
        """Wrapped keys with larger numbers, in order."""
        rows = await self._connection.rows(
            "SELECT number, object FROM epoch WHERE number > ? ORDER BY number", after
        )
        return [(row[0], row[1]) for row in rows]

    async def outgoing(self, after: int, most_bytes: int, most: int = 4096) -> list[Outgoing]:
        """Deltas behind `after` in order: at least one if there is any, else bounded both ways."""
        sizes = await self._connection.rows(
            "SELECT seq, size FROM delta WHERE seq > ? ORDER BY seq LIMIT ?", after, most
        )
        last, total = after, 0
        for seq, size in sizes:
            total += size
            if total > most_bytes and last > after:
                break
            last = seq
        rows = await self._connection.rows(
            "SELECT seq, epoch, sealed, boundary, first_ms, last_ms FROM delta"
            " WHERE seq > ? AND seq <= ? ORDER BY seq",
            *(after, last),
        )
        return [Outgoing(SealedDelta(r[0], r[1], r[2]), bool(r[3]), r[4], r[5]) for r in rows]

    async def use_targets(self, targets: Sequence[tuple[str, str]]) -> None:
        """Exactly these (name, URL) are in use. One whose URL changed begins anew."""
        async with self._connection.transaction() as run:
            run("UPDATE target SET in_use = 0")
            for name, url in targets:
                run("DELETE FROM target WHERE name = ? AND url <> ?", name, url)
                run(
                    "INSERT INTO target (name, url, in_use) VALUES (?, ?, 1)"
                    " ON CONFLICT (name) DO UPDATE SET in_use = 1, state = 'waiting'",
                    *(name, url),
                )
            # What its next snapshot would be built on is forgotten: changes are not kept for it.
            run("UPDATE target SET map = NULL, map_seq = NULL, attempt = NULL WHERE in_use = 0")
            run("DELETE FROM pack WHERE target NOT IN (SELECT name FROM target WHERE in_use = 1)")

    async def conflicted(self) -> frozenset[str]:
        """Targets to which another daemon wrote our generation, or that were taken over from one."""
        rows = await self._connection.rows(
            "SELECT name FROM target WHERE state = ? OR (claim NOT NULL AND claimed = '')", CONFLICT
        )
        return frozenset(row[0] for row in rows)

    async def target(self, name: str) -> TargetState:
        """One target's state."""
        return target_of((await self._connection.rows(TARGETS_QUERY + " WHERE t.name = ?", name))[0])

    async def has_gap(self, cursor: int) -> bool:
        """Whether deltas that a target at `cursor` needs are gone already."""
        rows = await self._connection.rows("SELECT min(seq) FROM delta")
        chain = await self.chain()
        seq = chain.seq if chain else 0
        first = rows[0][0]
        return cursor > seq or (first > cursor + 1 if first is not None else seq > cursor)

    async def set_epoch(self, name: str, number: int) -> None:
        """The target has this wrapped key and all before it."""
        async with self._connection.transaction() as run:
            run("UPDATE target SET epoch = ? WHERE name = ?", number, name)

    async def stored(
        self, name: str, sent: Sequence[Outgoing], now_ms: int, bundle: Stored | None = None
    ) -> None:
        """The target has these deltas, in this object; what nobody needs any more goes."""
        async with self._connection.transaction() as run:
            run(
                "UPDATE target SET cursor = ?, delta_bytes = delta_bytes + ?, state = 'ok', error = ''"
                " WHERE name = ?",
                *(sent[-1].sealed.seq, sum(len(delta.sealed.sealed) for delta in sent), name),
            )
            if bundle is not None:
                put_head(run, name, bundle)
            for delta in reversed(sent):
                if delta.boundary:
                    put_stored(run, name, delta.sealed.seq, now_ms, delta.last_ms)
                    break
            trim(run)

    async def begin_again(self, name: str) -> None:
        """The target lost what it had: it begins with a snapshot, as a new one does."""
        async with self._connection.transaction() as run:
            run(
                "UPDATE target SET cursor = NULL, snapshot = NULL, stored = NULL, head = '', head_seq = NULL,"
                " head_object = '' WHERE name = ?",
                name,
            )

    async def set_target(self, name: str, state: str, error: str = "", now_ms: int = 0) -> None:
        """For `status`: what the target is doing, and its last error."""
        async with self._connection.transaction() as run:
            if error:
                run(
                    "UPDATE target SET state = ?, error = ?, error_ms = ? WHERE name = ?",
                    *(state, error, now_ms, name),
                )
            else:
                run("UPDATE target SET state = ?, error = '' WHERE name = ?", state, name)

    async def set_source(self, path: str, state: str, error: str = "", now_ms: int = 0) -> None:
        """For `status`: what capture is doing, and its last error."""
        async with self._connection.transaction() as run:
            run("INSERT OR REPLACE INTO source VALUES (1, ?, ?, ?, ?)", path, state, error, now_ms)


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
    return State(Connection(connection))


async def _prepare(connection: aiosqlite.Connection, path: Path) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 16777216"):
        # All rows are fetched: a statement left in progress keeps later transactions from committing.
        await connection.execute_fetchall(f"PRAGMA {pragma}")
    rows = list(await connection.execute_fetchall("PRAGMA user_version"))
    version = int(rows[0][0])
    if version < _VERSION:
        missing = "".join(_STEPS[version:])
        await connection.executescript(f"BEGIN; {missing} PRAGMA user_version = {_VERSION}; COMMIT;")
    elif version > _VERSION:
        raise StateError(
            f"{path} was made by a newer version of syncd (schema {version}, not {_VERSION})",
            hint="use that version, or remove the state directory to begin a new generation",
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
