"""The log's checksums against SQLite's own words, and chains over logs that SQLite wrote."""

import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.source.wal import (
    FRAME_HEADER_SIZE,
    WAL_HEADER_SIZE,
    Checksum,
    WalFile,
    Words,
    _carry,
    _terms,
    chain_checksum,
    parse_wal_header,
)

SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
Frame = tuple[int, int, int, bytes, bytes]


def continued(start: Checksum, rows: Words) -> list[Checksum]:
    """The running checksum after each row."""
    terms, matrix = _terms(rows)
    sums = []
    for term in terms:
        start = _carry(start, term, matrix)
        sums.append(start)
    return sums


def plain_checksum(data: bytes, start: Checksum, order: str) -> Checksum:
    """walChecksumBytes of SQLite's wal.c, word for word."""
    s0, s1 = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for i in range(0, len(words), 2):
        s0 = (s0 + words[i] + s1) & 0xFFFFFFFF
        s1 = (s1 + words[i + 1] + s0) & 0xFFFFFFFF
    return s0, s1


@given(
    st.integers(1, 40).flatmap(
        lambda pairs: st.lists(st.binary(min_size=8 * pairs, max_size=8 * pairs), min_size=1, max_size=5)
    ),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.sampled_from("<>"),
)
def test_checksums_are_those_of_sqlite(rows: list[bytes], start: Checksum, order: str) -> None:
    words = np.array([np.frombuffer(row, f"{order}u4") for row in rows]).astype(np.uint32)
    expected, sums = start, []
    for row in rows:
        expected = plain_checksum(row, expected, order)
        sums.append(expected)
    assert continued(start, words) == sums


def test_a_page_of_extremes() -> None:
    row = b"\xff" * (65536 + 8)
    words = np.frombuffer(row, "<u4").astype(np.uint32).reshape(1, -1)
    assert continued((0xFFFFFFFF, 0xFFFFFFFF), words) == [plain_checksum(row, (0xFFFFFFFF, 0xFFFFFFFF), "<")]


@pytest.fixture(params=SIZES)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    return make_log(tmp_path, request.param), request.param


def make_log(directory: Path, size: int) -> Path:
    """A log of a few commits that SQLite wrote, and the database as of then beside it."""
    path = directory / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in (f"page_size={size}", "journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE t (a)")
        for length in (10, size, 3 * size, 40 * size if size < 4096 else size):
            connection.execute("INSERT INTO t VALUES (randomblob(?))", (length,))
        shutil.copyfile(f"{path}-wal", directory / "copy-wal")
        (directory / "truth").write_bytes(connection.serialize())
    return directory / "copy-wal"


@contextmanager
def opened(path: Path, size: int) -> Iterator[WalFile]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield WalFile(fd, size)
    finally:
        os.close(fd)


def chained(path: Path, size: int) -> list[Frame]:
    with opened(path, size) as wal:
        header = wal.header()
        assert header is not None
        return list(wal.chain(0, 0, header, header.checksum))


def test_a_chain_gives_every_frame(log: tuple[Path, int]) -> None:
    path, size = log
    frames = chained(path, size)
    count = (path.stat().st_size - WAL_HEADER_SIZE) // (FRAME_HEADER_SIZE + size)
    assert [frame[0] for frame in frames] == list(range(1, count + 1))
    assert sum(1 for frame in frames if frame[2]) == 5
    image = bytearray(frames[-1][2] * size)
    for _, number, _, _, page in frames:
        image[(number - 1) * size : number * size] = page
    # The first page stood in the file before the log began, and is in the log since the first commit.
    assert bytes(image) == (path.parent / "truth").read_bytes()


def test_a_chain_can_begin_anywhere(log: tuple[Path, int]) -> None:
    path, size = log
    frames = chained(path, size)
    with opened(path, size) as wal:
        header = wal.header()
        assert header is not None
        for start in (1, len(frames) // 2, len(frames)):
            checksum = chain_checksum(frames[start - 1][3])
            assert list(wal.chain(start, 0, header, checksum)) == frames[start:]
            assert list(wal.chain(start, start + 1, header, checksum)) == frames[start : start + 1]


def test_a_survey_agrees_with_the_chain(log: tuple[Path, int]) -> None:
    path, size = log
    frames = chained(path, size)
    with opened(path, size) as wal:
        header = wal.header()
        assert header is not None
        survey = wal.survey(0, len(frames), header.salts)
        assert survey is not None
        assert survey.last == {number: frame for frame, number, *_ in frames}
        assert (survey.commits, survey.page_count, survey.unproven) == (5, frames[-1][2], 0)
        assert wal.survey(0, len(frames), b"othersal") is not None
        assert wal.survey(0, len(frames) + 1, header.salts) is None
        images = list(wal.images([1, len(frames)]))
    assert images == [frames[0][4], frames[-1][4]]


@pytest.mark.parametrize("size", [512, 4096])
def test_a_chain_ends_before_damage(tmp_path: Path, size: int) -> None:
    path = make_log(tmp_path, size)
    frames = chained(path, size)
    raw = path.read_bytes()
    length = FRAME_HEADER_SIZE + size
    for frame in range(1, len(frames) + 1, 7):
        at = WAL_HEADER_SIZE + (frame - 1) * length
        for where in (0, 4, 8, 12, 16, 20, FRAME_HEADER_SIZE, length - 1):
            damaged = bytearray(raw)
            damaged[at + where] ^= 0x10
            path.write_bytes(damaged)
            assert chained(path, size) == frames[: frame - 1]
        path.write_bytes(raw[:at] + bytes(length) + raw[at + length :])
        assert chained(path, size) == frames[: frame - 1]
        path.write_bytes(raw[: at + length - 1])
        assert chained(path, size) == frames[: frame - 1]


def test_the_header_counts_only_whole(tmp_path: Path) -> None:
    raw = make_log(tmp_path, 512).read_bytes()[:WAL_HEADER_SIZE]
    header = parse_wal_header(raw)
    assert header is not None
    assert header.page_size == 512
    assert header.salts == raw[16:24]
    for at in range(WAL_HEADER_SIZE):
        damaged = bytearray(raw)
        damaged[at] ^= 1
        assert parse_wal_header(bytes(damaged)) is None
        assert parse_wal_header(raw[:at]) is None
    assert parse_wal_header(bytes(WAL_HEADER_SIZE)) is None


def test_a_log_written_on_a_machine_of_the_other_byte_order(tmp_path: Path) -> None:
    path = make_log(tmp_path, 512)
    frames = chained(path, 512)
    raw = bytearray(path.read_bytes())
    raw[0:4] = (0x377F0683).to_bytes(4)
    checksum = plain_checksum(bytes(raw[:24]), (0, 0), ">")
    raw[24:32] = struct.pack(">II", *checksum)
    for at in range(WAL_HEADER_SIZE, len(raw), FRAME_HEADER_SIZE + 512):
        checksum = plain_checksum(bytes(raw[at : at + 8]), checksum, ">")
        checksum = plain_checksum(bytes(raw[at + 24 : at + 24 + 512]), checksum, ">")
        raw[at + 16 : at + 24] = struct.pack(">II", *checksum)
    path.write_bytes(raw)
    again = chained(path, 512)
    assert [frame[:3] for frame in again] == [frame[:3] for frame in frames]
    with opened(path, 512) as wal:
        header = wal.header()
        assert header is not None
        assert header.big_endian
