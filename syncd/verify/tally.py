"""The hash of every page in every pack, on disk: so that the digest of many snapshots costs one reading.

- One record of 36 bytes for each page: its number, and its term of the digest (see model.Digest).
- The file has no name and is gone with the object. In memory is one entry for each pack, and one pack's
  records at a time.
- Packs may be added from several threads at once.
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from syncd.errors import ArchiveError, StateError
from syncd.format.manifest import Manifest
from syncd.model import Digest, page_hash

_RECORD: Final = np.dtype([("number", ">u4"), ("hash", ">u4", (8,))])


Records = npt.NDArray[np.void]


class Tally:
    """Filled pack by pack with `add`, asked snapshot by snapshot with `digest`. Close it when done.

    Raises StateError where the disk fails.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path(tempfile.gettempdir())
        with self._disk():
            self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - lives as long as the tally
        self._lock = threading.Lock()
        self._at: dict[bytes, tuple[int, int]] = {}

    def add(self, pack_id: bytes, page_size: int, numbers: Iterable[int], images: bytes) -> None:
        """Keep the hashes of an opened pack."""
        view = memoryview(images)
        out = bytearray()
        for i, number in enumerate(numbers):
            image = view[i * page_size : (i + 1) * page_size]
            out += number.to_bytes(4) + page_hash(number, image).to_bytes(32)
        with self._lock, self._disk():
            at = self._file.seek(0, 2)
            self._file.write(out)
            self._at[pack_id] = (at, len(out))

    def digest(self, manifest: Manifest) -> Digest | None:
        """The sum over the snapshot's pages, None where a pack of it was not added.

        Raises ArchiveError where a pack does not hold the pages that the manifest looks for there.
        """
        total = 0
        records: dict[int, Records] = {}
        runs = sorted(manifest.runs, key=lambda run: run.pack)
        for run in runs:
            if run.pack not in records:
                at = self._at.get(manifest.packs[run.pack].pack_id)
                if at is None:
                    return None
                records = {run.pack: self._read(*at)}
            part = records[run.pack][run.offset : run.offset + run.count]
            expected = np.arange(run.first_page, run.first_page + run.count)
            if not np.array_equal(part["number"], expected):
                raise ArchiveError("the packs do not hold the pages that the manifest names")
            words = part["hash"].sum(axis=0, dtype=np.uint64).tolist()
            total += sum(word << 32 * (7 - i) for i, word in enumerate(words))
        return Digest(total % (1 << 256))

    def _read(self, at: int, size: int) -> Records:
        with self._disk():
            self._file.seek(at)
            return np.frombuffer(self._file.read(size), dtype=_RECORD)

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # what it could not write is wanted no more
            self._file.close()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise StateError(
                f"a temporary file in {self._directory} cannot be written or read: {e.strerror}",
                hint="make room there, or name another directory in $TMPDIR",
            ) from e
