"""A piece of what was captured, as the delta from the shadow; and the shadow brought to where it ends.

- Pages are compared with the shadow first: what was written and is the same makes no patch.
- Redo images bring the shadow there again, should the host fail before it is on the disk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from syncd.archive import seal_delta
from syncd.envelope.epoch import EpochKey
from syncd.format.delta import Delta, PatchGroup, SealedDelta, group_pages, make_patch
from syncd.format.pack import encode_pack_content
from syncd.model import Digest
from syncd.source.pending import Piece
from syncd.source.shadow import Shadow
from syncd.state import Redo

_REDO_PART_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 256 << 10
_SMALL_LEVEL: Final = 9
_LEVEL: Final = 3
_REDO_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Change:
    """A piece, compared with the shadow: the delta, and the images that the shadow needs."""

    delta: Delta
    images: dict[int, bytes]


def build_change(piece: Piece, shadow: Shadow, digest: Digest) -> Change:
    """Patch the piece's pages against the shadow, whose digest is `digest`. Reads only."""
    base_count = 0 if piece.rebase else shadow.page_count
    digest = Digest() if piece.rebase else digest
    page_count = piece.page_count if piece.boundary else max(base_count, piece.page_count)
    numbers = sorted({n for n in piece.pages if n <= page_count} | set(range(base_count + 1, page_count + 1)))
    zeros = bytes(piece.page_size)
    images: dict[int, bytes] = {}
    groups: list[PatchGroup] = []
    changed: list[tuple[int, bytes, bytes]] = []
    level = _SMALL_LEVEL if len(numbers) * piece.page_size <= _SMALL_BYTES else _LEVEL

    def flush() -> None:
        nonlocal digest
        if not changed:
            return
        old = [(number, image) for number, image, _ in changed if number <= base_count]
        new = [(number, image) for number, _, image in changed]
        digest = digest.replace(removed=old, added=new)
        patch = make_patch(b"".join(i for _, i in old), b"".join(i for _, i in new), level)
        groups.append(PatchGroup(tuple(n for n, _ in new), patch))
        images.update(new)
        changed.clear()

    for number, old in _old_images(shadow, numbers, base_count):
        new = piece.pages.get(number, zeros)
        if number > base_count or new != old:
            changed.append((number, old, new))
            if len(changed) == group_pages(piece.page_size):
                flush()
    flush()
    digest = digest.replace(removed=shadow.read_many(range(page_count + 1, base_count + 1)))
    return Change(
        Delta(
            page_size=piece.page_size,
            page_count=page_count,
            digest=digest,
            first_ms=piece.first_ms,
            last_ms=piece.last_ms,
            commits=piece.commits,
            boundary=piece.boundary,
            rebase=piece.rebase,
            groups=tuple(groups),
        ),
        images,
    )


def apply_change(change: Change, shadow: Shadow) -> None:
    """Bring the shadow to where the delta ends."""
    if change.delta.rebase:
        shadow.rebase(change.delta.page_size)
    shadow.apply(change.images, change.delta.page_count)


def copy_piece(piece: Piece, shadow: Shadow) -> None:
    """Write a part of the first copy."""
    if piece.rebase:
        shadow.rebase(piece.page_size)
    page_count = piece.page_count if piece.boundary else max(shadow.page_count, piece.page_count)
    shadow.apply(piece.pages, page_count)


def _old_images(shadow: Shadow, numbers: list[int], base_count: int) -> Iterator[tuple[int, bytes]]:
    yield from shadow.read_many(n for n in numbers if n <= base_count)
    yield from ((n, b"") for n in numbers if n > base_count)


def redo_of(seq: int, change: Change) -> list[Redo]:
    """The images, in parts that fit into one row each; at least one row, which carries the size."""
    delta = change.delta
    per_part = max(1, _REDO_PART_BYTES // delta.page_size)
    pages = sorted(change.images.items())
    parts = [pages[at : at + per_part] for at in range(0, len(pages), per_part)] or [[]]
    return [
        Redo(
            seq=seq,
            page_size=delta.page_size,
            page_count=delta.page_count,
            rebase=delta.rebase and part is parts[0],
            images=_content(delta.page_size, part) if part else b"",
        )
        for part in parts
    ]


def _content(page_size: int, pages: Sequence[tuple[int, bytes]]) -> bytes:
    images = b"".join(image for _, image in pages)
    return encode_pack_content(page_size, [number for number, _ in pages], images, _REDO_LEVEL)


def seal_change(key: EpochKey, seq: int, before: Digest, change: Change) -> tuple[SealedDelta, list[Redo]]:
    """The delta `seq` that follows on the state `before`, sealed, and what brings the shadow there."""
    return seal_delta(key, seq, before, change.delta), redo_of(seq, change)
