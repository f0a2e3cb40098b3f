import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format import zstd
from syncd.format.names import MAX_EPOCH
from syncd.format.pack import (
    MAX_PACK_BYTES,
    decode_pack,
    decode_pack_content,
    encode_pack,
    encode_pack_content,
)
from syncd.format.wire import varint
from syncd.model import MAX_PAGE_COUNT
from tests.format.support import flips, truncations

NUMBERS = [1, 7, 8]
IMAGES = b"a" * 512 + random.Random(1).randbytes(512) + b"c" * 512


def frame(data: bytes) -> bytes:
    return zstd.compress(data, level=3, window_log_max=23)


@settings(deadline=None)
@given(st.integers(9, 16), st.dictionaries(st.integers(1, MAX_PAGE_COUNT), st.integers(0, 255), min_size=1))
def test_a_pack_comes_back(log2: int, content: dict[int, int]) -> None:
    size = 1 << log2
    numbers = tuple(sorted(content))
    images = b"".join(bytes((content[number],)) * size for number in numbers)
    assert decode_pack_content(encode_pack_content(size, numbers, images, 3)) == (size, numbers, images)


def test_the_largest_pack_comes_back() -> None:
    images = random.Random(2).randbytes(MAX_PACK_BYTES)
    assert decode_pack_content(encode_pack_content(65536, range(1, 257), images, 1))[2] == images
    with pytest.raises(ValueError, match="a pack holds"):
        encode_pack_content(65536, range(1, 258), images + bytes(65536), 1)


@pytest.mark.parametrize(
    ("size", "numbers", "images", "reason"),
    [
        (1000, [1], bytes(1000), "no page size"),
        (512, [], b"", "a pack holds"),
        (512, [0], bytes(512), "page 0 follows"),
        (512, [2, 2], bytes(1024), "page 2 follows"),
        (512, [MAX_PAGE_COUNT + 1], bytes(512), "follows"),
        (512, [1], bytes(511), "511 bytes are not 1 images of 512"),
        (512, [1, 2], bytes(1025), "1025 bytes are not 2 images of 512"),
    ],
)
def test_an_invalid_pack_is_not_written(size: int, numbers: list[int], images: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode_pack_content(size, numbers, images, 3)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x08" + varint(1) + varint(0) + frame(bytes(256)), "no page size"),
        (b"\x11" + varint(1) + varint(0) + frame(bytes(131072)), "no page size"),
        (b"\x09" + varint(0) + frame(b""), "does not hold 0 pages"),
        (b"\x10" + varint(257) + bytes(300), "does not hold 257 pages"),
        (
            b"\x09" + varint(2) + varint(MAX_PAGE_COUNT - 1) + varint(0) + frame(bytes(1024)),
            "is no page number",
        ),
        (b"\x09" + varint(1) + varint(0) + frame(bytes(511)), "exactly 512"),
        (b"\x09" + varint(1) + varint(0) + frame(bytes(513)), "exactly 512"),
        (b"\x09" + varint(1) + varint(0) + frame(bytes(512)) + b"x", "belong to nothing"),
        (b"\x09" + varint(1) + varint(0), "exactly 512"),
    ],
)
def test_malformed_content_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        decode_pack_content(raw)


def test_every_truncation_of_the_content_is_refused() -> None:
    for raw in truncations(encode_pack_content(512, NUMBERS, IMAGES, 3)):
        with pytest.raises(ArchiveError):
            decode_pack_content(raw)


def test_damaged_content_never_ends_in_another_exception() -> None:
    for _, raw in flips(encode_pack_content(512, NUMBERS, IMAGES, 3)):
        try:
            size, numbers, images = decode_pack_content(raw)
        except ArchiveError:
            continue
        assert len(images) == len(numbers) * size


@settings(deadline=None)
@given(st.integers(0, MAX_EPOCH), st.binary(max_size=100))
def test_a_pack_object_comes_back(epoch: int, sealed: bytes) -> None:
    assert decode_pack(encode_pack(epoch, sealed)) == (epoch, sealed)


@pytest.mark.parametrize("epoch", [-1, MAX_EPOCH + 1])
def test_a_pack_has_a_possible_epoch(epoch: int) -> None:
    with pytest.raises(ValueError, match="is no epoch"):
        encode_pack(epoch, b"")


def test_a_malformed_pack_object_is_refused() -> None:
    head = encode_pack(2, b"")
    for raw in (*truncations(head), head[:-1] + varint(MAX_EPOCH + 1)):
        with pytest.raises(ArchiveError):
            decode_pack(raw)
