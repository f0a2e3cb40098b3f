"""The shadow: a byte-identical copy of the database as of the last captured position.

- It is also the instant local backup, and it is in the clear: mode 0600 in a directory of mode 0700.
- Writes are not synced one by one; the redo images in syncd's own state are kept until `sync` ran.
- After a sync that failed no other one succeeds: the kernel may have dropped what it could not write, and
  says so once. Whoever opens the shadow again applies the redo, which writes all of it anew.
- A snapshot reads the shadow while capture goes on: pages that it has not read yet are kept aside
  before they are overwritten (`View`).
"""

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from syncd.durable import sync_directory
from syncd.errors import StateError

_READ_BYTES: Final = 1 << 20


class Shadow:
    """The shadow file. Calls may come from several threads. Raises StateError where its disk fails.

    Args:
        path: the file; created with mode 0600 where it is missing.
        page_size: of the database, in bytes; 0 where nothing was captured yet.
        page_count: pages that count; what lies behind them in the file is cut off.
    """

    def __init__(self, path: Path, page_size: int = 0, page_count: int = 0) -> None:
        self.path = path
        self.page_size = page_size
        self.page_count = page_count
        self.lock = threading.Lock()
        self.views: list[View] = []
        self._sync_failed = False
        with _translated(path):
            is_new = not path.exists()
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if is_new:
                sync_directory(path.parent)

    def close(self) -> None:
        """Close the file; the shadow is not used again."""
        os.close(self.fd)

    def sync(self) -> None:
        """Make everything applied so far durable."""
        if self._sync_failed:
            raise StateError(f"{self.path} could not be synced before", hint="check its disk")
        with _translated(self.path):
            try:
                os.fsync(self.fd)
            except OSError:
                self._sync_failed = True
                raise

    def rebase(self, page_size: int) -> None:
        """Forget all pages; the database starts anew with this page size."""
        with self.lock, _translated(self.path):
            self._keep(range(1, self.page_count + 1))
            os.ftruncate(self.fd, 0)
            self.page_size = page_size
            self.page_count = 0

    def apply(self, pages: Mapping[int, bytes], page_count: int) -> None:
        """Overwrite pages and set the size; pages that appear without an image are zeros."""
        with self.lock, _translated(self.path):
            self._keep(sorted(pages))
            self._keep(range(page_count + 1, self.page_count + 1))
            for first, images in _runs(pages, page_count):
                _write_all(self.fd, images, (first - 1) * self.page_size)
            os.ftruncate(self.fd, page_count * self.page_size)
            self.page_count = page_count

    def read(self, first: int, count: int) -> bytes:
        """The images of `count` pages from `first` on, padded with zeros behind the file's end."""
        with _translated(self.path):
            return read_padded(self.fd, count * self.page_size, (first - 1) * self.page_size)

    def read_many(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """The images of these pages (ascending numbers), reading neighbours together."""
        with _translated(self.path):
            size = self.page_size
            for first, count in stretches(numbers, max(1, _READ_BYTES // size) if size else 1):
                block = read_padded(self.fd, count * size, (first - 1) * size)
                for i in range(count):
                    yield first + i, block[i * size : (i + 1) * size]

    def view(self) -> "View":
        """The database as it is now, readable while `apply` goes on. Close it when done."""
        with self.lock, _translated(self.path):
            view = View(self)
            self.views.append(view)
            return view

    def _keep(self, numbers: Iterable[int]) -> None:
        for view in self.views:
            view.keep(n for n in numbers if n <= self.page_count)


class View:
    """The shadow frozen at one position; each page can be read once.

    Pages that capture is about to overwrite, and that are wanted and were not read yet, are copied to an
    unnamed temporary file beside the shadow.
    """

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow
        self.page_size = shadow.page_size
        self.page_count = shadow.page_count
        self._wanted = np.ones(self.page_count + 1, np.bool_)
        self._kept: dict[int, int] = {}
        self._file = tempfile.TemporaryFile(dir=shadow.path.parent)  # noqa: SIM115 - lives as long as the view

    def want(self, numbers: NDArray[np.int64]) -> None:
        """Only these pages will be read; the others need not be kept any more."""
        wanted = np.zeros_like(self._wanted)
        wanted[numbers] = True
        with self._shadow.lock:
            self._wanted &= wanted

    def keep(self, numbers: Iterable[int]) -> None:
        """Called by the shadow, under its lock, before these pages change."""
        for number in numbers:
            if number <= self.page_count and self._wanted[number] and number not in self._kept:
                image = read_padded(self._shadow.fd, self.page_size, (number - 1) * self.page_size)
                at = self._file.seek(0, os.SEEK_END)
                self._file.write(image)
                self._kept[number] = at

    def read(self, numbers: Sequence[int]) -> bytearray:
        """The images of these pages, concatenated (ascending; they are wanted, and were not read)."""
        size = self.page_size
        images = bytearray(len(numbers) * size)
        places = memoryview(images)
        with self._shadow.lock, _translated(self._shadow.path):
            at = 0
            for first, count in stretches(numbers, len(numbers)):
                _read_into(self._shadow.fd, places[at : at + count * size], (first - 1) * size)
                at += count * size
            for n, number in enumerate(numbers):
                kept = self._kept.pop(number, None)
                if kept is not None:
                    self._file.seek(kept)
                    images[n * size : (n + 1) * size] = self._file.read(size)
                self._wanted[number] = False
        return images

    def close(self) -> None:
        """Stop keeping pages aside."""
        with self._shadow.lock:
            self._shadow.views.remove(self)
        with suppress(OSError):  # what it could not write is wanted no more
            self._file.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise StateError(f"{path} cannot be read or written: {e.strerror}", hint="check its disk") from e


def read_padded(fd: int, size: int, offset: int) -> bytes:
    """Exactly `size` bytes from `offset`; what is missing at the file's end is zeros."""
    data = os.pread(fd, size, offset)
    while data and len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data.ljust(size, b"\0") if len(data) < size else data


def _read_into(fd: int, zeros: memoryview, offset: int) -> None:
    """Fill it from there on; what is missing at the file's end stays."""
    while zeros and (got := os.preadv(fd, [zeros], offset)):
        zeros, offset = zeros[got:], offset + got


def stretches(numbers: Iterable[int], limit: int) -> Iterator[tuple[int, int]]:
    """Group ascending numbers into (first, count) of neighbours, at most `limit` each."""
    first = count = 0
    for number in numbers:
        if count and number == first + count and count < limit:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count


def _runs(pages: Mapping[int, bytes], page_count: int) -> Iterator[tuple[int, bytes]]:
    numbers = sorted(n for n in pages if n <= page_count)
    for first, count in stretches(numbers, 256):
        yield first, b"".join(pages[n] for n in range(first, first + count))


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
