"""Days of a chat database, each captured by the Replicator and then kept by a snapshot.

- Several variants (size of packs, level, dead share) may be compared on the very same days: each is a
  target of its own.
- Which pages changed is found out past syncd, on the days that are looked at: by sums of every page.
- Nothing is synced to disk meanwhile: the disk is not measured.
"""

import asyncio
import filecmp
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from syncd import snapshot
from syncd.clock import SystemClock
from syncd.format.names import packs_dir
from syncd.log import Event
from syncd.policy import packing
from syncd.replica import Replica, open_replica
from syncd.replicate import Replicator
from syncd.ship import Shipper
from syncd.source.shadow import Shadow, View
from syncd.store import MeteredStore, Store
from tests.bench.snapshots_chat import Writer
from tests.support.fakes import SEALING
from tests.support.oracle import fold
from tests.verbs.bench import NAME, restore

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PATIENCE = 600.0
_BATCHES = 4
_SUM_BYTES = 8
_LEVEL = 3


class OneByOne(packing.Packing):
    """Each pack is given up for its own dead share, whatever the others are."""

    @override
    def _give_up(self, dead_share: float) -> None:
        placed = self._pack_of[self._pack_of != packing._NOWHERE]
        live = np.bincount(placed, minlength=len(self._packs))
        pages = np.array([ref.pages for ref in self._packs], np.int64)
        given_up = pages - live > dead_share * pages
        if len(pages):
            self._pack_of[(self._pack_of != packing._NOWHERE) & given_up[self._pack_of]] = packing._NOWHERE


class Together(packing.Packing):
    """Pages that changed and pages that are moved, in page order, in the same packs."""

    @override
    def batches(self) -> Iterator[packing.Numbers]:
        numbers = self.needed
        for at in range(0, len(numbers), self._full):
            yield numbers[at : at + self._full]


@dataclass(frozen=True, slots=True)
class Variant:
    """What can be chosen of snapshots; as it is where nothing is said."""

    name: str = "as it is"
    pack_bytes: int = snapshot._PACK_BYTES
    level: int = snapshot._PACK_LEVEL
    dead_share: float = snapshot._DEAD_SHARE
    small_packs: int = packing._SMALL_PACKS
    planner: type[packing.Packing] = packing.Packing

    @contextmanager
    def chosen(self) -> Iterator[None]:
        with (
            patch.multiple(
                snapshot,
                _PACK_BYTES=self.pack_bytes,
                _PACK_LEVEL=self.level,
                _DEAD_SHARE=self.dead_share,
                Packing=self.planner,
            ),
            patch.object(packing, "_SMALL_PACKS", self.small_packs),
        ):
            yield


@dataclass(frozen=True, slots=True)
class Taken:
    """One snapshot. `in_packs`: images in all packs of its manifest; `kept_bytes`, the size of those packs.

    `changed` pages had no live image on the target. `looked`: how many are not what they were on the day
    before, found out past syncd; by zstd at level 3 they are `stream_bytes` in one stream, `frames_bytes`
    in frames of as many pages as a pack has. All three are 0 on a day that was not looked at.
    """

    day: int
    pages: int
    looked: int
    changed: int
    moved: int
    read_bytes: int
    pack_bytes: int
    manifest_bytes: int
    requests: int
    stream_bytes: int
    frames_bytes: int
    packs: int
    runs: int
    in_packs: int
    kept_bytes: int
    seconds: float
    cpu_seconds: float
    peak_mb: float

    @property
    def shipped(self) -> int:
        return self.pack_bytes + self.manifest_bytes

    @property
    def ratio(self) -> float:
        """Shipped, against the zstd size of the changed pages, in one stream or in frames: the smaller.

        0 on a day that was not looked at.
        """
        size = min(self.stream_bytes, self.frames_bytes)
        return self.shipped / size if size else 0.0

    @property
    def read_again(self) -> float:
        """Pages that a restore reads, against those of the database."""
        return self.in_packs / self.pages


@dataclass(frozen=True, slots=True)
class Restored:
    """The restore at the end: what it fetched, how long it took, and whether the bytes are right."""

    get_bytes: int
    requests: int
    database_bytes: int
    seconds: float
    cpu_seconds: float
    identical: bool


class Sums:
    """What every page was at the last look."""

    def __init__(self) -> None:
        self._sums: NDArray[np.uint64] = np.zeros(0, np.uint64)

    def look(self, shadow: Shadow) -> list[int]:
        """The pages that changed since, ascending."""
        pages = shadow.read_many(range(1, shadow.page_count + 1))
        digests = (hashlib.blake2b(image, digest_size=_SUM_BYTES).digest() for _, image in pages)
        now = np.frombuffer(b"".join(digests), np.uint64)
        old, self._sums = self._sums, now
        both = min(len(old), len(now))
        same = np.flatnonzero(old[:both] == now[:both])
        changed = np.ones(len(now), np.bool_)
        changed[same] = False
        numbers: list[int] = (np.flatnonzero(changed) + 1).tolist()
        return numbers


def zstd_sizes(shadow: Shadow, numbers: Iterable[int], frame_bytes: int) -> tuple[int, int]:
    """Of these pages: as one stream, and as frames of so many bytes, by zstd as it comes."""
    stream = zstd.ZstdCompressor(level=_LEVEL)
    in_stream = in_frames = 0
    pages = (image for _, image in shadow.read_many(numbers))
    while images := b"".join(islice(pages, max(1, frame_bytes // shadow.page_size))):
        in_stream += len(stream.compress(images))
        in_frames += len(zstd.compress(images, level=_LEVEL))
    return in_stream + len(stream.flush()), in_frames


class Keeping:
    """One variant: a target, its store, and the snapshots taken for it."""

    def __init__(self, replica: Replica, variant: Variant, store: Store) -> None:
        self.variant = variant
        self.store = MeteredStore(store)
        self.taken: list[Taken] = []
        self._replica = replica
        self._shipper = Shipper(replica, variant.name, self.store)
        self._known: set[bytes] = set()
        self._read = 0

    async def keep(self, day: int, looked: int, sizes: tuple[int, int]) -> None:
        """Ship what waits, then take a snapshot; the first one comes of itself."""
        replica, usage = self._replica, self.store.usage
        with self.variant.chosen(), self._counting():
            if day:
                await self._shipper.ship()
            requests, put_bytes = _requests(self.store), usage.put_bytes
            forget_peak()
            started, cpu = time.monotonic(), time.process_time()
            taken = None
            if day:
                taken = await self._shipper.snapshot("a day")
            else:
                await self._shipper.ship()
            seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        peak = _peak_mb()
        assert replica.chain is not None
        known = (await replica.state.snapshots.known(self.variant.name, replica.chain.page_size)).base
        assert known is not None
        new = sum(ref.size for ref in known.packs if ref.pack_id not in self._known)
        self._known = {ref.pack_id for ref in known.packs}
        self.taken.append(
            Taken(
                day=day,
                pages=replica.chain.page_count,
                looked=looked,
                changed=taken.changed if taken else replica.chain.page_count,
                moved=taken.moved if taken else 0,
                read_bytes=self._read,
                pack_bytes=new,
                manifest_bytes=(taken.bytes if taken else usage.put_bytes - put_bytes) - new,
                requests=_requests(self.store) - requests,
                stream_bytes=sizes[0],
                frames_bytes=sizes[1],
                packs=len(known.packs),
                runs=len(known.runs),
                in_packs=sum(ref.pages for ref in known.packs),
                kept_bytes=sum(ref.size for ref in known.packs),
                seconds=seconds,
                cpu_seconds=cpu,
                peak_mb=peak,
            )
        )

    async def stored(self) -> int:
        """Bytes of all packs and manifests that the target has; nothing was pruned."""
        assert self._replica.chain is not None
        packs = self.store.objects(packs_dir(self._replica.chain.generation))
        return sum([info.size async for info in packs]) + sum(each.manifest_bytes for each in self.taken)

    async def restore(self, to: Path, truth: Path) -> Restored:
        """The newest position, compared with the database."""
        usage = self.store.usage
        requests, get_bytes = _requests(self.store), usage.get_bytes
        started, cpu = time.monotonic(), time.process_time()
        await restore(self.store, to)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        identical = await asyncio.to_thread(filecmp.cmp, to, truth, False)
        size = to.stat().st_size
        to.unlink()
        return Restored(
            usage.get_bytes - get_bytes, _requests(self.store) - requests, size, seconds, cpu, identical
        )

    @contextmanager
    def _counting(self) -> Iterator[None]:
        self._read = 0
        read = View.read

        def counted(view: View, numbers: Sequence[int]) -> bytearray:
            images = read(view, numbers)
            self._read += len(images)
            return images

        with patch.object(View, "read", counted):
            yield


class Days:
    """A database, captured; and what is kept of it, by each variant."""

    def __init__(self, replica: Replica, replicator: Replicator, writer: Writer, database: Path) -> None:
        self._replica = replica
        self._replicator = replicator
        self._writer = writer
        self._database = database
        self._sums = Sums()
        self._day = 0
        self.keepings: list[Keeping] = []

    async def next(self, percent: float, is_looked_at: Callable[[int], bool]) -> None:
        """The first copy, or a day in a few transactions; then a snapshot for each variant."""
        if self._day:
            messages = round(self._writer.messages * percent / 100 / _BATCHES)
            for _ in range(_BATCHES):
                await asyncio.to_thread(self._writer.write, messages)
                await self._catch_up()
        else:
            await self._catch_up()
        shadow = self._replica.shadow
        changed: list[int] = []
        if is_looked_at(self._day) or is_looked_at(self._day + 1):
            changed = await asyncio.to_thread(self._sums.look, shadow)
        if not is_looked_at(self._day):
            changed = []
        sizes: dict[int, tuple[int, int]] = {}
        for keeping in self.keepings:
            size = keeping.variant.pack_bytes
            if size not in sizes:
                sizes[size] = await asyncio.to_thread(zstd_sizes, shadow, changed, size)
            await keeping.keep(self._day, len(changed), sizes[size] if changed else (0, 0))
        self._day += 1

    async def restore(self, directory: Path) -> list[Restored]:
        """Every variant's newest position, when the writer is closed."""
        scratch = directory / "fold"
        scratch.mkdir()
        truth = await asyncio.to_thread(fold, self._database, scratch)
        restored = [await each.restore(directory / "restored.db", truth) for each in self.keepings]
        truth.unlink()
        return restored

    async def _catch_up(self) -> None:
        if not await self._replicator.catch_up(patience=_PATIENCE):
            raise TimeoutError("the database could not be captured")


@asynccontextmanager
async def following(
    directory: Path, database: Path, writer: Writer, variants: dict[Variant, Store]
) -> AsyncIterator[Days]:
    """A replica in `directory`, with a target for each variant."""
    targets = [(variant.name, "file:") for variant in variants]
    with patch("os.fsync"):
        replica = await open_replica(
            NAME, directory / "state", sealing=SEALING, targets=targets, clock=SystemClock(), log=_quiet
        )
        replicator = Replicator(replica, database, max_delay=0, max_bytes=8 << 20, poll_interval=1)
        try:
            days = Days(replica, replicator, writer, database)
            days.keepings = [Keeping(replica, variant, store) for variant, store in variants.items()]
            yield days
        finally:
            await replicator.close()
            await replica.close()


def _requests(store: MeteredStore) -> int:
    usage = store.usage
    return usage.puts + usage.gets + usage.lists + usage.deletes


_STATUS: Final = Path("/proc/self/status")


def forget_peak(process: int | str = "self") -> None:
    """Make the kernel forget the peak of a process's resident memory so far (proc(5), clear_refs)."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def _peak_mb() -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def _quiet(_event: Event, /, **_fields: object) -> None:
    """Nobody reads along."""
