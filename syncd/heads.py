"""How far an archive is, and whether it is at least as far as it is known to have been.

- The newest head is that of the newest generation: its last bundle, or a snapshot behind that. Its signature
  is checked; a listing alone is not believed.
- An archive is refused that ends before the head that is asked for, or that has another object there. What
  is newer is fine, a newer generation too.
- Retention may have removed the very object: then what is signed and newer, or a snapshot there, stands for
  it. No identity is needed.
"""

from dataclasses import dataclass
from typing import Final

from syncd.archive import read_bundle, read_heartbeat, read_manifest
from syncd.envelope.keys import VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint, ObjectNotFound
from syncd.format.bundle import Bundle
from syncd.format.head import Head
from syncd.format.names import (
    GENERATIONS,
    HEARTBEATS,
    deltas_dir,
    deltas_name,
    is_generation,
    is_object,
    parse_seq,
    snapshot_name,
    snapshots_dir,
)
from syncd.model import format_time
from syncd.store.base import Store

_HEARTBEATS: Final = 8


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest head of a generation, the name of its object, and when that state was captured, in ms."""

    head: Head
    object: str
    captured_ms: int


class Heads:
    """The heads of one database's archive.

    Args:
        store: the archive.
        database: the name that the archive must carry, None for any.
        verify_key: of the daemon that wrote it.

    Every method raises StoreError, and ArchiveError for what is damaged, forged or not what was asked for.
    """

    def __init__(self, store: Store, *, database: str | None, verify_key: VerifyKey) -> None:
        self._store = store
        self._database = database
        self._verify_key = verify_key

    async def newest(self, generation: str) -> Newest | None:
        """The newest head of a generation; None where it has neither a bundle nor a snapshot."""
        seqs = await self._listed(deltas_dir(generation))
        heads = [await self._bundle(generation, seq) for seq in seqs[-1:]]
        end = max((each.head.seq for each in heads), default=-1)
        seqs = [seq for seq in await self._listed(snapshots_dir(generation)) if seq > end]
        heads += [await self._snapshot(generation, seq) for seq in seqs[-1:]]
        return heads[-1] if heads else None

    async def check(self, expected: Head) -> Newest:
        """The newest head, which is not older than `expected`. Raises ArchiveError where it is."""
        newest = await self._newest()
        if (newest.head.generation, newest.head.seq) < (expected.generation, expected.seq):
            raise ArchiveError(
                f"the archive ends at {newest.head}, before {expected}: what was newer is gone",
                hint="restore from another target; without --expect-head, what is left can be restored",
            )
        if newest.head.generation == expected.generation:
            await self._compare(expected)
        return newest

    async def current(self, newest: Newest) -> int:
        """Until when the archive is known to be whole, in ms: the newest heartbeat, or the newest head.

        Raises ArchiveError where a heartbeat says that it was further.
        """
        infos = [info async for info in self._store.objects(HEARTBEATS)]
        names = [info.name for info in infos if is_generation(info.name.removeprefix(HEARTBEATS))]
        current_ms = newest.captured_ms
        for name in names[-_HEARTBEATS:]:
            try:
                beat = read_heartbeat(
                    await self._store.get(name),
                    name=name,
                    database=self._database,
                    verify_key=self._verify_key,
                )
            except (ArchiveError, ObjectNotFound):
                continue  # anybody who may create objects can put one there
            if (beat.generation, beat.seq) > (newest.head.generation, newest.head.seq):
                raise ArchiveError(
                    f"{name}: the archive reached seq {beat.seq} of generation {beat.generation},"
                    f" and ends at {newest.head}: what was newer is gone",
                    hint="restore from another target",
                )
            current_ms = max(current_ms, beat.time_ms)
        return current_ms

    async def _newest(self) -> Newest:
        generations = sorted([name for name in await self._store.dirs(GENERATIONS) if is_generation(name)])
        for generation in reversed(generations):
            if newest := await self.newest(generation):
                return newest
        raise NoRestorePoint(f"{self._store.url} holds no archive", hint="check the URL")

    async def check_age(self, now_ms: int, most_ms: int) -> int:
        """How old the archive is at most, in ms, by `current`. Raises ArchiveError where above `most_ms`."""
        current_ms = await self.current(await self._newest())
        if now_ms - current_ms > most_ms:
            raise ArchiveError(
                f"the archive is known to be whole until {format_time(current_ms)} only, which is too old",
                hint="an idle database looks like one that is held back, unless [heartbeat] is on",
            )
        return max(0, now_ms - current_ms)

    async def _compare(self, expected: Head) -> None:
        """What is at that seq must be the object that the head names, or nothing."""
        firsts = [seq for seq in await self._listed(deltas_dir(expected.generation)) if seq <= expected.seq]
        for first in firsts[-1:]:
            raw = await self._store.get(deltas_name(expected.generation, first))
            last = self._read_bundle(raw, expected.generation, first).last_seq
            if Head.of(expected.generation, last, raw) == expected:
                return
            if last >= expected.seq and not await self._is_snapshot(expected):
                raise ArchiveError(
                    f"{deltas_name(expected.generation, first)}: it is another object than {expected} names",
                    hint="a head is that of one target; compare with what `syncd status --json` says of it",
                )

    async def _is_snapshot(self, expected: Head) -> bool:
        try:
            raw = await self._store.get(snapshot_name(expected.generation, expected.seq))
        except ObjectNotFound:
            return False
        return Head.of(expected.generation, expected.seq, raw) == expected

    async def _listed(self, prefix: str) -> list[int]:
        infos = [info async for info in self._store.objects(prefix)]
        return sorted(parse_seq(info.name) for info in infos if is_object(info.name))

    async def _bundle(self, generation: str, first: int) -> Newest:
        name = deltas_name(generation, first)
        raw = await self._store.get(name)
        bundle = self._read_bundle(raw, generation, first)
        return Newest(Head.of(generation, bundle.last_seq, raw), name, bundle.captured_ms)

    def _read_bundle(self, raw: bytes, generation: str, first: int) -> Bundle:
        return read_bundle(
            raw, generation=generation, first_seq=first, database=self._database, verify_key=self._verify_key
        )

    async def _snapshot(self, generation: str, seq: int) -> Newest:
        name = snapshot_name(generation, seq)
        raw = await self._store.get(name)
        manifest = read_manifest(
            raw, generation=generation, seq=seq, database=self._database, verify_key=self._verify_key
        )
        return Newest(Head.of(generation, seq, raw), name, manifest.captured_ms)
