"""What snapshots need to know: which pages changed, and which packs a target has."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from syncd.errors import ArchiveError
from syncd.format.head import Head
from syncd.format.manifest import Manifest, PackRef, decode_manifest
from syncd.format.names import snapshot_name
from syncd.policy.packing import Base, Change, KnownPack, Numbers
from syncd.state.connection import Connection, Run
from syncd.state.records import Stored, decode_pages, encode_pages

# Positions that some target has packs of, or is making some at.
_BOUNDARIES: Final = (
    "SELECT map_seq AS seq FROM target WHERE map_seq NOT NULL"
    " UNION SELECT attempt FROM target WHERE attempt NOT NULL UNION SELECT seq FROM pack"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What a target has: the manifest of its last snapshot, and packs of snapshots that were not completed.

    Packs of another page size than `page_size` are left out.
    """

    base: Base | None
    packs: tuple[KnownPack, ...]

    @property
    def oldest(self) -> int:
        """Changes after this position matter."""
        seqs = [pack.seq for pack in self.packs] + ([self.base.seq] if self.base else [])
        return min(seqs, default=0)


class SnapshotTables:
    """The part of the state that is about snapshots. Raises StateError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self, name: str, seq: int, *, first: bool) -> None:
        """A snapshot at `seq` is being taken. For a `first` one, deltas behind it are kept from now on."""
        async with self._connection.transaction() as run:
            run("UPDATE target SET attempt = ? WHERE name = ?", seq, name)
            if first:
                run("UPDATE target SET cursor = ?, snapshot = NULL WHERE name = ?", seq, name)

    async def add_pack(self, name: str, ref: PackRef, *, seq: int, page_size: int, numbers: Numbers) -> None:
        """The target has this pack of a snapshot at `seq`; it is of use even if the snapshot is given up."""
        async with self._connection.transaction() as run:
            run(
                "INSERT OR REPLACE INTO pack VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(name, ref.pack_id, ref.size, ref.sha256, seq, ref.epoch, page_size, encode_pages(numbers)),
            )

    async def known(self, name: str, page_size: int) -> Known:
        """What the target has. Reads and decodes what may be megabytes, in a thread."""
        rows = await self._connection.rows("SELECT map FROM target WHERE name = ? AND map NOT NULL", name)
        base: Base | None = None
        if rows:
            with suppress(ArchiveError):  # kept by another version of the format: all pages are shipped again
                manifest, _, _ = await asyncio.to_thread(decode_manifest, rows[0][0])
                if manifest.page_size == page_size:
                    base = Base(manifest.seq, manifest.packs, manifest.runs)
        packs: list[KnownPack] = []
        for row in await self._connection.rows(
            "SELECT id, size, sha256, seq, epoch, pages FROM pack WHERE target = ? AND page_size = ?",
            name,
            page_size,
        ):
            numbers = decode_pages(row[5])
            packs.append(KnownPack(PackRef(row[0], row[1], row[2], len(numbers), row[4]), row[3], numbers))
        return Known(base, tuple(packs))

    async def changes(self, after: int) -> list[tuple[int, bytes]]:
        """Rows for `decode_changes`: what changed behind `after`."""
        rows = await self._connection.rows("SELECT seq, pages FROM changed WHERE seq > ? ORDER BY seq", after)
        return [(row[0], row[1]) for row in rows]

    async def merge_changes(self) -> None:
        """Make one row of all rows between two positions that matter.

        A row's pages count as changed at its seq: later than they did, never earlier, so that at worst
        a page is shipped again.
        """
        boundaries = sorted(row[0] for row in await self._connection.rows(_BOUNDARIES))
        seqs = [row[0] for row in await self._connection.rows("SELECT seq FROM changed ORDER BY seq")]
        intervals = np.searchsorted(boundaries, seqs).tolist()
        for _, group in groupby(zip(intervals, seqs, strict=True), key=lambda each: each[0]):
            first, *_, last = [seq for _, seq in group] * 2
            if first < last:
                await self._merge(first, last)

    async def end(self, name: str, manifest: Manifest, raw: bytes, now_ms: int) -> None:
        """The snapshot is complete: its position can be restored from there."""
        seq = manifest.seq
        async with self._connection.transaction() as run:
            put_stored(run, name, seq, now_ms, manifest.captured_ms)
            run(
                "UPDATE target SET snapshot = ?1, map = ?2, map_seq = ?1, attempt = NULL, delta_bytes = 0,"
                " state = 'ok', error = '' WHERE name = ?3",
                *(seq, raw, name),
            )
            head = Head.of(manifest.generation, seq, raw)
            put_head(run, name, Stored(snapshot_name(manifest.generation, seq), head))
            run("DELETE FROM pack WHERE target = ?", name)
            run(
                f"DELETE FROM changed WHERE seq <= (SELECT min(seq) FROM ({_BOUNDARIES}))"  # noqa: S608 - a constant
            )
            trim(run)

    async def forget(self, name: str) -> None:
        """The target's packs cannot be relied on: its next snapshot begins with nothing."""
        async with self._connection.transaction() as run:
            run("UPDATE target SET map = NULL, map_seq = NULL WHERE name = ?", name)
            run("DELETE FROM pack WHERE target = ?", name)

    async def _merge(self, first: int, last: int) -> None:
        rows = await self._connection.rows("SELECT pages FROM changed WHERE seq BETWEEN ? AND ?", first, last)
        union = np.unique(np.concatenate([decode_pages(row[0]) for row in rows]))
        async with self._connection.transaction() as run:
            run("DELETE FROM changed WHERE seq BETWEEN ? AND ?", first, last)
            run("INSERT INTO changed VALUES (?, ?)", last, encode_pages(union))


def decode_changes(rows: Sequence[tuple[int, bytes]]) -> list[Change]:
    """What `SnapshotTables.changes` gave."""
    return [Change(seq, decode_pages(pages)) for seq, pages in rows]


def put_stored(run: Run, target: str, seq: int, now_ms: int, captured_ms: int) -> None:
    """This boundary can be restored from the target.

    Never back: a snapshot may be complete while deltas before it are still on their way.
    """
    run(
        "UPDATE target SET stored = ?1, stored_ms = ?2, captured_ms = ?3"
        " WHERE name = ?4 AND (stored IS NULL OR stored < ?1)",
        *(seq, now_ms, captured_ms, target),
    )


def put_head(run: Run, target: str, stored: Stored) -> None:
    """What the target acknowledged, where it goes further than what it had."""
    run(
        "UPDATE target SET head = ?1, head_seq = ?2, head_object = ?3"
        " WHERE name = ?4 AND (head_seq IS NULL OR ?2 > head_seq)",
        *(str(stored.head), stored.head.seq, stored.name, target),
    )


def trim(run: Run) -> None:
    """Drop what every target in use has; one that has not begun will begin with a snapshot."""
    least = "(SELECT min(cursor) FROM target WHERE in_use = 1 AND cursor IS NOT NULL)"
    run(f"DELETE FROM delta WHERE seq <= {least}")  # noqa: S608 - constants
    run(
        "DELETE FROM epoch WHERE number < (SELECT max(number) FROM epoch)"
        " AND number < coalesce((SELECT min(epoch) FROM delta), number + 1)"
        " AND number <= (SELECT min(epoch) FROM target WHERE in_use = 1 AND cursor IS NOT NULL)"
    )
