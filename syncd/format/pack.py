"""A pack: page images of a snapshot, in one sealed object of bounded size.

- Its plaintext is the page size, the page numbers (strictly increasing) and one zstd frame of the
  images, one after the other. The n-th image is that of the n-th number: a manifest's runs count so.
- The clear part names the epoch only; the pack's id is its name, which the seal binds.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from syncd.format import zstd
from syncd.format.names import MAX_EPOCH
from syncd.format.wire import ObjectKind, Reader, header, varint
from syncd.model import MAX_PAGE_COUNT, MIN_PAGE_SIZE, is_page_size

MAX_PACK_BYTES: Final = 16 * 1024 * 1024  # of raw images

_WINDOW_LOG_MAX: Final = 23
_SMALLEST_LOG2: Final = MIN_PAGE_SIZE.bit_length() - 1
_LARGEST_LOG2: Final = 16


def encode_pack_content(
    page_size: int, numbers: Sequence[int], images: bytes | bytearray, level: int
) -> bytes:
    """The plaintext of a pack, its images concatenated, compressed at a zstd level. Raises ValueError."""
    if not is_page_size(page_size):
        raise ValueError(f"{page_size} is no page size")
    if not 0 < len(numbers) * page_size <= MAX_PACK_BYTES:
        raise ValueError(f"a pack holds 1 to {MAX_PACK_BYTES} bytes of images, not {len(numbers)} pages")
    if len(images) != len(numbers) * page_size:
        raise ValueError(f"{len(images)} bytes are not {len(numbers)} images of {page_size}")
    out = bytearray((page_size.bit_length() - 1,))
    out += varint(len(numbers))
    last = 0
    for number in numbers:
        if not last < number <= MAX_PAGE_COUNT:
            raise ValueError(f"page {number} follows page {last}")
        out += varint(number - last - 1)
        last = number
    return bytes(out) + zstd.compress(images, level=level, window_log_max=_WINDOW_LOG_MAX)


def decode_pack_content(raw: bytes) -> tuple[int, tuple[int, ...], bytes]:
    """Page size, page numbers and concatenated images. Raises ArchiveError."""
    reader = Reader(raw, "the content of the pack")
    log2 = reader.byte()
    if not _SMALLEST_LOG2 <= log2 <= _LARGEST_LOG2:
        raise reader.broken(f"2**{log2} is no page size")
    count = reader.count()
    if not 0 < count << log2 <= MAX_PACK_BYTES:
        raise reader.broken(f"a pack does not hold {count} pages of {1 << log2} bytes")
    numbers = _decode_numbers(reader, count)
    if numbers[-1] > MAX_PAGE_COUNT:
        raise reader.broken(f"{numbers[-1]} is no page number")
    images = zstd.decompress(
        reader.rest(), size=count << log2, window_log_max=_WINDOW_LOG_MAX, what="the content of the pack"
    )
    return 1 << log2, numbers, images


def _decode_numbers(reader: Reader, count: int) -> tuple[int, ...]:
    first = reader.varint(most=MAX_PAGE_COUNT) + 1
    steps = bytes(reader.peek()[: count - 1])
    if len(steps) == count - 1 and steps.isascii():  # one byte each: neighbours, nearly always
        reader.take(count - 1)
        return tuple(accumulate(steps, lambda last, step: last + step + 1, initial=first))
    numbers = [first]
    for _ in range(count - 1):
        numbers.append(numbers[-1] + reader.varint(most=MAX_PAGE_COUNT) + 1)
    return tuple(numbers)


def encode_pack(epoch: int, sealed: bytes) -> bytes:
    """The object of a pack. Raises ValueError."""
    if not 0 <= epoch <= MAX_EPOCH:
        raise ValueError(f"{epoch} is no epoch")
    return header(ObjectKind.PACK) + varint(epoch) + sealed


def decode_pack(raw: bytes) -> tuple[int, bytes]:
    """Epoch and sealed content of a pack. Raises ArchiveError."""
    reader = Reader(raw, "the pack")
    reader.header(ObjectKind.PACK)
    return reader.varint(most=MAX_EPOCH), reader.rest()
