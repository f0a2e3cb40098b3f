"""A delta: the pages that changed, as patches against their old images.

- A `PatchGroup` is one zstd frame: the new images of its pages, one after the other, with the old
  images as raw prefix. Old images are those of the group's pages that exist in the predecessor
  (number <= its page count; none after a rebase), one after the other.
- Page numbers increase strictly through all groups of a delta and never exceed `page_count`.
- Every page above the predecessor's page count is in a group: no page comes to be without an image.
- An invalid Delta or SealedDelta cannot be made: constructors raise ValueError, decoders ArchiveError.
"""

from dataclasses import dataclass
from typing import Final

from syncd.errors import ArchiveError
from syncd.format import zstd
from syncd.format.names import MAX_EPOCH, MAX_SEQ
from syncd.format.wire import MAX_VARINT, Reader, check_ms, varint
from syncd.model import MAX_PAGE_COUNT, MIN_PAGE_SIZE, Digest, is_page_size

GROUP_BYTES: Final = 2 * 1024 * 1024
MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
MAX_PATCH_BYTES: Final = MAX_GROUP_BYTES + 32 * 1024  # above ZSTD_compressBound of a group

_WINDOW_LOG_MAX: Final = 23  # a group's old and new images together: 8 MiB
_SMALLEST_LOG2: Final = MIN_PAGE_SIZE.bit_length() - 1
_SIZE_BITS: Final = 0x07
_BOUNDARY: Final = 0x08
_REBASE: Final = 0x10


@dataclass(frozen=True, slots=True)
class PatchGroup:
    """Pages (numbers, strictly increasing) and the patch that turns their old images into the new ones."""

    pages: tuple[int, ...]
    patch: bytes

    def __post_init__(self) -> None:
        if not self.pages:
            raise ValueError("a patch group has no pages")
        if not 0 < len(self.patch) <= MAX_PATCH_BYTES:
            raise ValueError(f"a patch has {len(self.patch)} bytes, not 1 to {MAX_PATCH_BYTES}")


@dataclass(frozen=True, slots=True)
class Delta:
    """What leads from one position of the database to the next.

    Attributes:
        page_size: bytes.
        page_count: size of the database in pages after this delta.
        digest: of the whole database after this delta.
        first_ms: when the first change of the batch was seen.
        last_ms: when the last change of the batch was seen.
        commits: SQLite commits in the batch, 0 where unknown.
        boundary: True for a committed transaction boundary, which can be restored; False for a piece
            of a larger batch.
        rebase: True to forget all pages first, because the page size changed.
        groups: the patches.
    """

    page_size: int
    page_count: int
    digest: Digest
    first_ms: int
    last_ms: int
    commits: int
    boundary: bool
    rebase: bool
    groups: tuple[PatchGroup, ...]

    def __post_init__(self) -> None:
        if not is_page_size(self.page_size):
            raise ValueError(f"{self.page_size} is no page size")
        if not 0 <= self.page_count <= MAX_PAGE_COUNT:
            raise ValueError(f"{self.page_count} is no number of pages")
        if not 0 <= self.digest.value < 1 << 256:
            raise ValueError("the digest does not fit into 32 bytes")
        check_ms(self.first_ms)
        check_ms(self.last_ms)
        if self.first_ms > self.last_ms:
            raise ValueError("the last change came before the first one")
        if not 0 <= self.commits <= MAX_VARINT:
            raise ValueError(f"{self.commits} is no number of commits")
        self._check_pages()

    def _check_pages(self) -> None:
        last = 0
        for group in self.groups:
            if len(group.pages) * self.page_size > MAX_GROUP_BYTES:
                raise ValueError(
                    f"a group of {len(group.pages)} pages holds more than {MAX_GROUP_BYTES} bytes"
                )
            for number in group.pages:
                if number <= last:
                    raise ValueError(f"page {number} follows page {last}")
                last = number
        if last > self.page_count:
            raise ValueError(f"page {last} lies behind the end of the database, page {self.page_count}")


@dataclass(frozen=True, slots=True)
class SealedDelta:
    """A delta as it lies in a bundle: its sequence number, the epoch of its key, and the sealed bytes."""

    seq: int
    epoch: int
    sealed: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.seq <= MAX_SEQ:
            raise ValueError(f"{self.seq} is no sequence number")
        if not 0 <= self.epoch <= MAX_EPOCH:
            raise ValueError(f"{self.epoch} is no epoch")


def group_pages(page_size: int) -> int:
    """How many pages a writer puts into one group: about GROUP_BYTES of images."""
    return GROUP_BYTES // page_size


def check_follows(delta: Delta, *, page_size: int, page_count: int) -> None:
    """Raise ArchiveError unless the delta can be applied to a database of that size.

    It must keep the page size (where there are pages and it is no rebase), and bring an image of every
    page that comes to be.
    """
    kept = 0 if delta.rebase else page_count
    if kept and delta.page_size != page_size:
        raise ArchiveError(f"the delta has pages of {delta.page_size} bytes, the database of {page_size}")
    fresh = sum(number > kept for group in delta.groups for number in group.pages)
    if fresh != max(0, delta.page_count - kept):
        raise ArchiveError(
            f"the delta brings {fresh} images for the pages from {kept + 1} to {delta.page_count}"
        )


def make_patch(old: bytes, new: bytes, level: int) -> bytes:
    """The patch from the concatenated old images to the concatenated new ones, at a zstd level."""
    if not 0 < len(new) <= MAX_GROUP_BYTES or len(old) > MAX_GROUP_BYTES:
        raise ValueError(f"a group holds 1 to {MAX_GROUP_BYTES} bytes of images")
    return zstd.compress(new, level=level, prefix=old, window_log_max=_WINDOW_LOG_MAX)


def apply_patch(old: bytes, patch: bytes, size: int) -> bytes:
    """The `size` bytes of new images. Raises ArchiveError where the patch does not give exactly those."""
    return zstd.decompress(
        patch, size=size, prefix=old, window_log_max=_WINDOW_LOG_MAX, what="the patch of a group"
    )


def encode_delta(delta: Delta) -> bytes:
    """The plaintext of a delta, to be sealed."""
    flags = delta.page_size.bit_length() - 1 - _SMALLEST_LOG2
    flags |= _BOUNDARY if delta.boundary else 0
    flags |= _REBASE if delta.rebase else 0
    out = bytearray((flags,))
    out += varint(delta.page_count)
    out += bytes(delta.digest)
    out += varint(delta.first_ms)
    out += varint(delta.last_ms - delta.first_ms)
    out += varint(delta.commits)
    out += varint(len(delta.groups))
    last = 0
    for group in delta.groups:
        out += varint(len(group.pages))
        for number in group.pages:
            out += varint(number - last - 1)
            last = number
        out += varint(len(group.patch))
        out += group.patch
    return bytes(out)


def decode_delta(raw: bytes) -> Delta:
    """Read the plaintext of a delta. Raises ArchiveError."""
    reader = Reader(raw, "the delta")
    flags = reader.byte()
    if flags & ~(_SIZE_BITS | _BOUNDARY | _REBASE):
        raise reader.broken("unknown flags are set")
    page_count = reader.varint(most=MAX_PAGE_COUNT)
    digest = Digest.parse(reader.take(32))
    first_ms = reader.varint()
    last_ms = first_ms + reader.varint()
    commits = reader.varint()
    groups: list[PatchGroup] = []
    last = 0
    try:
        for _ in range(reader.count()):
            pages: list[int] = []
            for _ in range(reader.count()):
                last += reader.varint(most=MAX_PAGE_COUNT) + 1
                pages.append(last)
            groups.append(PatchGroup(tuple(pages), reader.sized()))
        delta = Delta(
            page_size=1 << (flags & _SIZE_BITS) + _SMALLEST_LOG2,
            page_count=page_count,
            digest=digest,
            first_ms=first_ms,
            last_ms=last_ms,
            commits=commits,
            boundary=bool(flags & _BOUNDARY),
            rebase=bool(flags & _REBASE),
            groups=tuple(groups),
        )
    except ValueError as error:
        raise reader.broken(str(error)) from error
    reader.end()
    return delta
