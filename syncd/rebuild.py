"""A database file under construction: pages of a snapshot, then deltas, and the proof of what came out.

- The snapshot is proven before a delta is applied to it.
- Pages that deltas change stay in memory for a while (bounded): most are changed again soon.
- The digest is brought up to date when it is asked for, from the pages touched since it was asked for
  last: their old images are summed up when they are first touched, their new ones at the end. Nothing
  is hashed twice for having changed a hundred times, and the proof is as strict.
- Only a boundary is a result: pieces of a larger batch wait on disk until the last one was read.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from syncd.errors import ArchiveError, StateError
from syncd.format.delta import Delta, SealedDelta, apply_patch, check_follows, decode_delta, encode_delta
from syncd.model import Digest, page_hash
from syncd.policy.plan import Plan
from syncd.source.shadow import read_padded, stretches

_CACHE_BYTES: Final = 16 << 20
_READ_BYTES: Final = 1 << 20


class Unproven(Exception):
    """Something is wrong with a delta, and it is not known with which."""


class Image:
    """The file. `write` may be called from several threads, everything else from one at a time.

    Every method raises StateError where the disk fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.page_size = 0
        self.page_count = 0
        self._known = Digest()
        self._known_count = 0
        self._removed = 0
        self._touched = bytearray()
        self._cache: dict[int, bytes] = {}
        with self.disk():
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def begin(self, page_size: int, page_count: int) -> None:
        """Forget everything; the pages are those that `write` brings."""
        with self.disk():
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, page_size * page_count)
        self._forget(page_size)
        self.page_count = page_count

    def write(self, first_page: int, images: memoryview) -> int:
        """Write neighbours; their terms of the digest, summed up."""
        size = self.page_size
        with self.disk():
            _write_all(self._fd, images, (first_page - 1) * size)
        return sum(
            page_hash(number, images[at : at + size])
            for number, at in enumerate(range(0, len(images), size), first_page)
        )

    def proven(self, digest: Digest) -> None:
        """The pages written so far have this digest."""
        self._known = digest
        self._known_count = self.page_count
        self._touched = bytearray(self.page_count + 1)

    def apply(self, delta: Delta) -> None:
        """Bring the file to where the delta ends. Raises ArchiveError where it does not follow."""
        check_follows(delta, page_size=self.page_size, page_count=self.page_count)
        if delta.rebase:
            self._forget(delta.page_size)
        self.page_size = size = delta.page_size
        count = self.page_count
        if delta.page_count < count:
            self._cut(delta.page_count)
        elif len(self._touched) <= delta.page_count:
            self._touched.extend(bytes(delta.page_count + 1 - len(self._touched)))
        for group in delta.groups:
            old = b"".join([self._old(number) for number in group.pages if number <= count])
            new = apply_patch(old, group.patch, len(group.pages) * size)
            for number, at in zip(group.pages, range(0, len(new), size), strict=True):
                self._cache[number] = new[at : at + size]
                self._touched[number] = 1
            if len(self._cache) * size > _CACHE_BYTES:
                self.flush()
        self.page_count = delta.page_count

    def digest(self) -> Digest:
        """The digest of the database as it is now."""
        self.flush()
        total = self._known.value - self._removed + self._sum(1, self.page_count, touched=True)
        self._removed = 0
        self.proven(Digest(total % (1 << 256)))
        return self._known

    def flush(self) -> None:
        """Write what is only in memory."""
        with self.disk():
            for first, count in stretches(sorted(self._cache), max(1, _READ_BYTES // (self.page_size or 1))):
                images = b"".join([self._cache[number] for number in range(first, first + count)])
                _write_all(self._fd, memoryview(images), (first - 1) * self.page_size)
        self._cache.clear()

    def finish(self) -> None:
        """Write everything, give the file its length, and make it durable."""
        self.flush()
        with self.disk():
            os.ftruncate(self._fd, self.page_count * self.page_size)
            os.fsync(self._fd)

    def _forget(self, page_size: int) -> None:
        self.page_size, self.page_count = page_size, 0
        self._removed = 0
        self._cache.clear()
        self.proven(Digest())

    def _old(self, number: int) -> bytes:
        image = self._cache.get(number)
        if image is None:
            with self.disk():
                image = read_padded(self._fd, self.page_size, (number - 1) * self.page_size)
        if number <= self._known_count and not self._touched[number]:
            self._removed += page_hash(number, image)
        return image

    def _cut(self, page_count: int) -> None:
        """Drop the pages behind `page_count`."""
        self._removed += self._sum(page_count + 1, self._known_count, touched=False)
        last = max(self._known_count, self.page_count)
        self._touched[page_count + 1 : last + 1] = b"\1" * (last - page_count)
        for number in [n for n in self._cache if n > page_count]:
            del self._cache[number]

    def _sum(self, first: int, last: int, *, touched: bool) -> int:
        """The terms of those pages, of the file, that were touched or that were not."""
        flags = np.frombuffer(self._touched, np.uint8)[first : last + 1]
        numbers = (np.flatnonzero(flags == touched) + first).tolist()
        del flags  # a bytearray that somebody looks into cannot grow
        total, size = 0, self.page_size
        for start, count in stretches(numbers, max(1, _READ_BYTES // (size or 1))):
            with self.disk():
                images = memoryview(read_padded(self._fd, count * size, (start - 1) * size))
            for i in range(count):
                total += page_hash(start + i, images[i * size : (i + 1) * size])
        return total

    @contextmanager
    def disk(self) -> Iterator[None]:
        """Make a failure of the file system in it a StateError."""
        try:
            yield
        except OSError as e:
            raise StateError(
                f"{self.path} cannot be read or written: {e.strerror}", hint="check its disk"
            ) from e


class Successor:
    """Applies what follows a snapshot.

    Args:
        image: the snapshot, proven.
        plan: what was asked for.
        open_delta: opens a delta that follows a database of that digest.
        digest: of the snapshot.
        spool: a temporary file for pieces.
        strict: prove every delta by itself, to name the one that is wrong.

    Attributes:
        seq: of the last boundary that was applied.
        captured_ms: when it was captured.
        count: deltas applied.
        gap: first and last seq of deltas that are not there, where that ended it; a snapshot follows them.
    """

    def __init__(
        self,
        image: Image,
        plan: Plan,
        open_delta: Callable[[SealedDelta, Digest], Delta],
        digest: Digest,
        spool: BinaryIO,
        *,
        strict: bool,
    ) -> None:
        self.seq, self.captured_ms, self.count = plan.snapshot.seq, plan.snapshot.captured_ms, 0
        self.gap: tuple[int, int] | None = None
        self._image = image
        self._plan = plan
        self._open = open_delta
        self._spool = spool
        self._strict = strict
        self._read_seq, self._read_digest = self.seq, digest
        self._digest = digest
        self._pieces = 0

    def feed(self, bundles: Iterable[Sequence[SealedDelta]]) -> bool:
        """Take the deltas of the next bundles; False where what was asked for is reached.

        Raises ArchiveError, StateError, Unproven.
        """
        with self._image.disk():
            return all(self._feed(deltas) for deltas in bundles)

    def finish(self) -> None:
        """Prove the result. Raises Unproven."""
        if self._image.digest() != self._digest:
            raise Unproven

    def _feed(self, deltas: Sequence[SealedDelta]) -> bool:
        for sealed in deltas:
            if sealed.seq <= self._read_seq:
                continue
            if not self._follows(sealed.seq, deltas[-1].seq):
                return False
            delta = self._open(sealed, self._read_digest)
            if self._plan.at_ms is not None and delta.boundary and delta.last_ms > self._plan.at_ms:
                return False
            self._read_seq, self._read_digest = sealed.seq, delta.digest
            self._take(delta)
        return True

    def _follows(self, seq: int, last: int) -> bool:
        """Whether this delta is wanted and next. Raises ArchiveError where others are missing before it."""
        if not self._plan.wants(seq):
            return False
        after = self._read_seq
        if seq == after + 1:
            return True
        if self._plan.allows_gap(after, seq, last):
            self.gap = (after + 1, seq - 1)
            return False
        raise ArchiveError(
            f"deltas {after + 1} to {seq - 1} of generation {self._plan.snapshot.generation} are missing",
            hint=f"restore an earlier position with --seq {after}, or from another target",
        )

    def _take(self, delta: Delta) -> None:
        self._pieces += 1
        if not delta.boundary or self._pieces > 1:
            _spool(self._spool, delta)
        if not delta.boundary:
            return
        batch = [delta] if self._pieces == 1 else _unspool(self._spool)
        for seq, piece in enumerate(batch, self._read_seq - self._pieces + 1):
            self._apply(piece, seq)
        self.seq, self.captured_ms, self._digest = self._read_seq, delta.last_ms, delta.digest
        self.count += self._pieces
        self._pieces = 0

    def _apply(self, delta: Delta, seq: int) -> None:
        try:
            self._image.apply(delta)
        except ArchiveError as e:
            if not self._strict:
                raise Unproven from e
            raise ArchiveError(f"delta {seq}: {e.message}", hint=e.hint) from e
        if self._strict and self._image.digest() != delta.digest:
            raise ArchiveError(
                f"delta {seq}: applying it does not give the database it was made from",
                hint="restore an earlier position with --seq, or from another target",
            )


def _spool(spool: BinaryIO, delta: Delta) -> None:
    raw = encode_delta(delta)
    spool.seek(0, os.SEEK_END)
    spool.write(len(raw).to_bytes(8))
    spool.write(raw)


def _unspool(spool: BinaryIO) -> Iterator[Delta]:
    spool.seek(0)
    while head := spool.read(8):
        yield decode_delta(spool.read(int.from_bytes(head)))
    spool.seek(0)
    spool.truncate()


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written
