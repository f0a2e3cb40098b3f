"""Any piece, patched against any shadow, gives the same database on the other side."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from syncd.change import apply_change, build_change, copy_piece, redo_of
from syncd.format.delta import decode_delta, encode_delta, group_pages
from syncd.model import Digest
from syncd.rebuild import Image
from syncd.replica import shadow_digest
from syncd.source.pending import Piece
from syncd.source.shadow import Shadow

MOST = 14


@dataclass(frozen=True)
class Turn:
    """Pages with a byte that fills them, the size after it, and whether all before is void."""

    pages: dict[int, int]
    page_count: int
    boundary: bool
    rebase: int | None


TURNS = st.lists(
    st.builds(
        Turn,
        st.dictionaries(st.integers(1, MOST), st.integers(0, 3), max_size=6),
        st.integers(0, MOST),
        st.booleans(),
        st.none() | st.none() | st.none() | st.sampled_from([512, 1024]),
    ),
    max_size=8,
)


def piece_of(turn: Turn, page_size: int) -> Piece:
    return Piece(
        pages={number: bytes([value]) * page_size for number, value in turn.pages.items()},
        page_size=page_size,
        page_count=turn.page_count if turn.boundary else max(turn.pages, default=0),
        rebase=turn.rebase is not None,
        boundary=turn.boundary,
        commits=1,
        first_ms=5,
        last_ms=6,
        position=None,
    )


def expected(image: list[bytes], piece: Piece) -> list[bytes]:
    """The same by the plainest rules."""
    base = [] if piece.rebase else image
    count = piece.page_count if piece.boundary else max(len(base), piece.page_count)
    after = (base + [bytes(piece.page_size)] * count)[:count]
    for number, page in piece.pages.items():
        if number <= count:
            after[number - 1] = page
    return after


@given(TURNS)
def test_a_delta_gives_the_same_bytes_and_digest(turns: list[Turn]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        shadow = Shadow(Path(directory, "shadow.db"), 512)
        proven, other = (Image(Path(directory, name)) for name in ("proven.db", "other.db"))
        image: list[bytes] = []
        digest = Digest()
        size = 512
        try:
            for turn in turns:
                size = turn.rebase or size
                piece = piece_of(turn, size)
                image = expected(image, piece)
                change = build_change(piece, shadow, digest)
                for restored in (proven, other):
                    restored.apply(decode_delta(encode_delta(change.delta)))
                apply_change(change, shadow)
                digest = change.delta.digest
                assert digest == proven.digest() == shadow_digest(shadow)
            assert digest == other.digest()
            proven.finish()
            other.finish()
            for each in (shadow, proven, other):
                assert each.page_count == len(image)
                assert each.path.read_bytes() == b"".join(image)
        finally:
            shadow.close()
            proven.close()
            other.close()


def test_only_pages_that_differ_are_carried(tmp_path: Path) -> None:
    shadow = Shadow(tmp_path / "shadow.db", 512)
    try:
        shadow.apply({1: b"a" * 512, 2: b"b" * 512}, 2)
        piece = piece_of(Turn({1: ord("a"), 2: ord("c")}, 2, boundary=True, rebase=None), 512)
        change = build_change(piece, shadow, shadow_digest(shadow))
        assert [group.pages for group in change.delta.groups] == [(2,)]
        same = piece_of(Turn({1: ord("a")}, 2, boundary=True, rebase=None), 512)
        unchanged = build_change(same, shadow, shadow_digest(shadow))
        assert unchanged.delta.groups == ()
        assert [row.images for row in redo_of(1, unchanged)] == [b""]
    finally:
        shadow.close()


def test_large_changes_are_grouped_and_their_redo_is_in_parts(tmp_path: Path) -> None:
    size, count = 65536, 200
    shadow = Shadow(tmp_path / "shadow.db", size)
    try:
        pages = {number: number.to_bytes(2) * (size // 2) for number in range(1, count + 1)}
        piece = Piece(pages, size, count, True, True, 1, 5, 6, None)
        change = build_change(piece, shadow, Digest())
        assert [len(group.pages) for group in change.delta.groups] == [group_pages(size)] * 6 + [8]
        redo = redo_of(1, change)
        assert [row.rebase for row in redo] == [True] + [False] * 12  # 1 MiB each
        assert {row.page_count for row in redo} == {count}
    finally:
        shadow.close()


def test_a_first_copy_leaves_holes_until_the_pages_come(tmp_path: Path) -> None:
    """The log's pages come first, the database's last one among them."""
    shadow = Shadow(tmp_path / "shadow.db")
    size, last = 4096, 200_000

    def piece(pages: dict[int, bytes], *, rebase: bool, boundary: bool) -> Piece:
        return Piece(pages, size, last, rebase, boundary, 0, 1, 1, None)

    copy_piece(piece({last: b"z" * size}, rebase=True, boundary=False), shadow)
    assert shadow.page_count == last
    assert shadow.path.stat().st_blocks * 512 < 100 * size
    copy_piece(piece({1: b"a" * size}, rebase=False, boundary=True), shadow)
    assert [shadow.read(n, 1)[:1] for n in (1, 2, last)] == [b"a", b"\0", b"z"]
    shadow.close()
