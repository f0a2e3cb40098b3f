"""The write-ahead log: frames, and the checksum chain that proves them (sqlite.org/walformat.html).

Frames count from 1. A frame is a 24-byte header and a page image. Two ways to trust a frame:

- the wal-index says it is committed (`WalFile.survey`), or
- the chain says so (`WalFile.chain`): its salts are the log's, its checksum continues that of the
  frame before, and a commit frame follows. SQLite up to 3.49.1 leaves committed frames with zeroed
  salts and checksums behind, so where there is a wal-index the chain is not the authority.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from syncd.model import is_page_size

WAL_HEADER_SIZE: Final = 32
FRAME_HEADER_SIZE: Final = 24
_BLOCK_BYTES: Final = 1 << 19
_MAGIC_LITTLE: Final = 0x377F0682
_MAGIC_BIG: Final = 0x377F0683
_HEADER = struct.Struct(">IIII8sII")

Checksum = tuple[int, int]
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class WalHeader:
    """The log's own header; `salts` are renewed by every reset."""

    big_endian: bool
    page_size: int
    salts: bytes
    checksum: Checksum


@dataclass(frozen=True, slots=True)
class Survey:
    """What a stretch of frames holds, without the images.

    `last` maps a page number to its last frame. `commits` counts commit frames; `padding` says how
    many of them may be repetitions that fill a disk sector (psow=0) and are no commits of their own.
    """

    last: dict[int, int]
    commits: int
    padding: int
    page_count: int
    unproven: int


def parse_wal_header(raw: bytes) -> WalHeader | None:
    """Read the 32 bytes at the start of the log, or None where SQLite itself would ignore the log."""
    if len(raw) < WAL_HEADER_SIZE:
        return None
    magic, _, page_size, _, salts, c0, c1 = _HEADER.unpack(raw[:WAL_HEADER_SIZE])
    if magic not in {_MAGIC_LITTLE, _MAGIC_BIG} or not is_page_size(page_size):
        return None
    big = magic == _MAGIC_BIG
    words = np.frombuffer(raw[:24], dtype=">u4" if big else "<u4").astype(np.uint32)
    terms, matrix = _terms(words.reshape(1, -1))
    if _carry((0, 0), terms[0], matrix) != (c0, c1):
        return None
    return WalHeader(big_endian=big, page_size=page_size, salts=salts, checksum=(c0, c1))


@cache
def _weights(words: int) -> tuple[Words, tuple[int, int, int, int]]:
    """SQLite's checksum as linear algebra modulo 2**32.

    One pair of words takes (s0, s1) to M (s0, s1) + B (x0, x1) with M = [[1,1],[1,2]] and
    B = [[1,0],[1,1]]; so n pairs take it to M**n (s0, s1) plus a dot product with fixed weights.
    Returns the weights as an array of shape (words, 2) and the four entries of M**n.
    """
    mask = 0xFFFFFFFF
    a, b, c, d = 1, 0, 0, 1
    rows: list[tuple[int, int]] = []
    for _ in range(words // 2):
        # The weight of a pair is M**k B, k being the number of pairs after it.
        rows.extend((((b) & mask, (d) & mask), ((a + b) & mask, (c + d) & mask)))
        a, b, c, d = (a + b) & mask, (a + 2 * b) & mask, (c + d) & mask, (c + 2 * d) & mask
    rows.reverse()
    return np.array(rows, dtype=np.uint32).reshape(words, 2), (a, b, c, d)


def _terms(rows: Words) -> tuple[list[tuple[int, int]], tuple[int, int, int, int]]:
    """What each row of words adds to the running checksum, and the matrix that carries it over a row."""
    weights, matrix = _weights(rows.shape[1])
    return np.dot(rows, weights).tolist(), matrix


def _carry(start: Checksum, term: tuple[int, int], matrix: tuple[int, int, int, int]) -> Checksum:
    """The running checksum after one more row."""
    a, b, c, d = matrix
    s0, s1 = start
    return (a * s0 + b * s1 + term[0]) & 0xFFFFFFFF, (c * s0 + d * s1 + term[1]) & 0xFFFFFFFF


class WalFile:
    """An open log. The descriptor stays the caller's.

    Args:
        fd: a descriptor opened O_RDONLY.
        page_size: of the database, in bytes.
    """

    def __init__(self, fd: int, page_size: int) -> None:
        self.fd = fd
        self.page_size = page_size
        self._frame_size = FRAME_HEADER_SIZE + page_size
        self._block = max(1, _BLOCK_BYTES // self._frame_size)
        self._buffer = bytearray(self._block * self._frame_size)

    def header(self) -> WalHeader | None:
        """The log's header as it is now."""
        return parse_wal_header(os.pread(self.fd, WAL_HEADER_SIZE, 0))

    def frame_header(self, frame: int) -> bytes:
        """The 24 bytes before a frame's image; shorter where the file ends."""
        return os.pread(self.fd, FRAME_HEADER_SIZE, self._offset(frame))

    def survey(self, start: int, stop: int, salts: bytes) -> Survey | None:
        """Frames start+1..stop as the wal-index says they are. None where the file is too short."""
        last: dict[int, int] = {}
        commits = padding = page_count = unproven = 0
        expected = np.frombuffer(salts, dtype=">u4")
        before = np.zeros((1, 2), dtype=">u4")
        frame = start
        for first, count in self._blocks(start, stop):
            fields = self._fields(count)
            last.update(zip(fields[:, 0].tolist(), range(first, first + count), strict=True))
            unproven += int((fields[:, 2:4] != expected).any(axis=1).sum())
            ends = fields[:, 1] != 0
            commits += int(ends.sum())
            pairs = np.concatenate((before, fields[:, :2]))
            padding += int(((pairs[1:] == pairs[:-1]).all(axis=1) & ends).sum())
            if ends.any():
                page_count = int(fields[ends, 1][-1])
            before = pairs[-1:]
            frame += count
        if frame < stop:
            return None
        return Survey(last=last, commits=commits, padding=padding, page_count=page_count, unproven=unproven)

    def images(self, frames: Iterable[int]) -> Iterator[bytes]:
        """The page images of these frames, in the order given."""
        for frame in frames:
            yield os.pread(self.fd, self.page_size, self._offset(frame) + FRAME_HEADER_SIZE)

    def chain(
        self, start: int, stop: int, wal: WalHeader, checksum: Checksum, *, lenient: bool = False
    ) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        """Proven frames after `start`: (frame, page number, page count or 0, frame header, image).

        Ends before the first frame whose salts or checksum do not fit, or at `stop` (0: at the end of
        the file). What is yielded was checked in memory: a writer that overwrites the file meanwhile
        cannot slip anything in.

        `lenient` is for a writer without a wal-index (locking_mode=EXCLUSIVE) that goes on behind frames
        whose salts and checksum it zeroed: it continues the checksum from zero there. Such a frame never
        ends a transaction, so it counts only if a proven one does.
        """
        expected = np.frombuffer(wal.salts, dtype=">u4")
        limit = stop or max(0, os.fstat(self.fd).st_size - WAL_HEADER_SIZE) // self._frame_size
        order = ">u4" if wal.big_endian else "<u4"
        for first, count in self._blocks(start, limit):
            fields = self._fields(count)
            stride = (self._frame_size, 4)
            head = np.ndarray((count, 2), order, self._buffer, 0, stride)
            body = np.ndarray((count, self.page_size // 4), order, self._buffer, FRAME_HEADER_SIZE, stride)
            terms, matrix = _terms(np.concatenate((head, body), axis=1).astype(np.uint32))
            salted = (fields[:, 2:4] == expected).all(axis=1).tolist()
            for i, (number, page_count, _, _, c0, c1) in enumerate(fields.tolist()):
                checksum = _carry(checksum, terms[i], matrix)
                if not salted[i] or checksum != (c0, c1):
                    if not lenient or fields[i, 2:6].any():
                        return
                    checksum, page_count = (0, 0), 0  # noqa: PLW2901 - a zeroed frame, see above
                at = i * self._frame_size
                yield (
                    first + i,
                    number,
                    page_count,
                    bytes(self._buffer[at : at + FRAME_HEADER_SIZE]),
                    bytes(self._buffer[at + FRAME_HEADER_SIZE : at + self._frame_size]),
                )

    def _offset(self, frame: int) -> int:
        return WAL_HEADER_SIZE + (frame - 1) * self._frame_size

    def _fields(self, count: int) -> npt.NDArray[np.uint32]:
        """The six big-endian words of each frame header in the buffer."""
        return np.ndarray((count, 6), ">u4", self._buffer, 0, (self._frame_size, 4))

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Fill the buffer block by block: (first frame, frames read). Ends with 0 at the file's end."""
        frame = start + 1
        while frame <= stop:
            want = min(self._block, stop - frame + 1)
            view = memoryview(self._buffer)[: want * self._frame_size]
            count = os.preadv(self.fd, [view], self._offset(frame)) // self._frame_size
            yield frame, count
            if count < want:
                return
            frame += count


def chain_checksum(frame_header: bytes) -> Checksum:
    """The running checksum that a frame header carries."""
    return int.from_bytes(frame_header[16:20]), int.from_bytes(frame_header[20:24])
