"""The one choice of a zstd module, and the two ways in which the format uses it.

- Frames carry neither content size nor checksum nor dictionary id: what surrounds a frame knows its
  size, and the seal around both answers for every bit.
- A reader says how many bytes it expects. It gets exactly those or ArchiveError, and never holds more
  than one byte above: a frame that promises gigabytes costs nothing.
"""

import sys
from typing import Final

from syncd.errors import ArchiveError

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

# A raw prefix shorter than this is refused by zstd. No page is: only "no old image" falls below.
_SHORTEST_PREFIX: Final = 8
_SMALLEST_WINDOW: Final = 10
# Most levels' tables are too small to remember a prefix of megabytes, and the patch grows manyfold
# (adr/0001). Levels 1 to 3 enter every few bytes of a prefix, levels above enter every byte. Tables of
# twice that size make patches 0.3 % smaller, and are most of what a daemon's memory peaks with.
_SPARSE_TABLE_LOG: Final = 20
_LAST_SPARSE_LEVEL: Final = 3
_FIRST_LEVEL_OF_LARGE_TABLES: Final = 12


def compress(data: bytes | bytearray, *, level: int, prefix: bytes = b"", window_log_max: int) -> bytes:
    """One zstd frame of `data`, which may refer to `prefix` (RFC 8878, raw content dictionary).

    The window is widened to reach from the end of `data` to the start of `prefix`: the low levels'
    own choice would forget the prefix of a large group.
    """
    parameter = zstd.CompressionParameter
    reach = (len(prefix) + len(data) - 1).bit_length()
    window_log = min(max(reach, _SMALLEST_WINDOW), window_log_max)
    options: dict[int, int] = {
        parameter.compression_level: level,
        parameter.content_size_flag: 0,
        parameter.checksum_flag: 0,
        parameter.dict_id_flag: 0,
        parameter.window_log: window_log,
    }
    if prefix and level < _FIRST_LEVEL_OF_LARGE_TABLES:
        sparse = level <= _LAST_SPARSE_LEVEL
        table_log = min(window_log - 2, _SPARSE_TABLE_LOG) if sparse else window_log - 1
        options[parameter.hash_log] = options[parameter.chain_log] = table_log
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=_dictionary(prefix))
    return compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress(frame: bytes, *, size: int, prefix: bytes = b"", window_log_max: int, what: str) -> bytes:
    """The `size` bytes that the frame holds. Raises ArchiveError where it holds anything else.

    Larger windows than `window_log_max` are refused, since zstd allocates the window it is told.
    """
    decompressor = zstd.ZstdDecompressor(
        _dictionary(prefix), {zstd.DecompressionParameter.window_log_max: window_log_max}
    )
    try:
        # One byte more than expected: enough for zstd to come to the frame's end, and to see excess.
        data = decompressor.decompress(frame, max_length=size + 1)
    except zstd.ZstdError as error:
        raise ArchiveError(f"{what} is not a zstd frame of this format: {error}") from error
    if not decompressor.eof or len(data) != size:
        raise ArchiveError(f"{what} does not hold exactly {size} bytes")
    if decompressor.unused_data:
        raise ArchiveError(f"{what} is followed by bytes that belong to nothing")
    return data


def _dictionary(prefix: bytes) -> "tuple[zstd.ZstdDict, int] | None":
    if len(prefix) < _SHORTEST_PREFIX:
        return None
    return zstd.ZstdDict(prefix, is_raw=True).as_prefix
