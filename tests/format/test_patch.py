import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format import zstd
from syncd.format.delta import MAX_GROUP_BYTES, MAX_PATCH_BYTES, apply_patch, make_patch
from tests.format.support import flips, truncations

PAGE = 4096


def grown(count: int, seed: int = 1) -> tuple[bytes, bytes]:
    """Old and new images of `count` pages, each of which had 60 bytes inserted in its middle."""
    rng = random.Random(seed)
    old, new = [], []
    for _ in range(count):
        page = rng.randbytes(PAGE)
        at = rng.randrange(100, PAGE - 100)
        old.append(page)
        new.append((page[:at] + b"x" * 60 + page[at:])[:PAGE])
    return b"".join(old), b"".join(new)


@settings(deadline=None)
@given(st.binary(max_size=3000), st.binary(min_size=1, max_size=3000), st.sampled_from([-5, 1, 3, 9, 19]))
def test_a_patch_gives_the_new_images(old: bytes, new: bytes, level: int) -> None:
    assert apply_patch(old, make_patch(old, new, level), len(new)) == new


@pytest.mark.parametrize("level", [1, 3, 6, 9, 12])
@pytest.mark.parametrize("count", [128, 512, MAX_GROUP_BYTES // PAGE])
def test_a_small_change_of_each_page_costs_dozens_of_bytes_a_page(count: int, level: int) -> None:
    # Random pages: a match is found in the old image or nowhere. It lies a whole group away.
    old, new = grown(count)
    patch = make_patch(old, new, level)
    assert apply_patch(old, patch, len(new)) == new
    assert len(patch) < 40 * count


def test_pages_without_a_change_cost_next_to_nothing() -> None:
    old, _ = grown(512)
    assert len(make_patch(old, old, 3)) < 6 * 512


def test_incompressible_images_fit_into_a_patch() -> None:
    new = random.Random(2).randbytes(MAX_GROUP_BYTES)
    assert len(make_patch(b"", new, 3)) <= MAX_PATCH_BYTES


@pytest.mark.parametrize(
    ("old", "new"), [(b"", b""), (b"", bytes(MAX_GROUP_BYTES + 1)), (bytes(MAX_GROUP_BYTES + 1), b"x")]
)
def test_no_patch_is_made_for_a_group_of_impossible_size(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError, match="group"):
        make_patch(old, new, 3)


@pytest.mark.parametrize("size", [1, 4 * PAGE - 1, 4 * PAGE + 1, 5 * PAGE])
def test_a_patch_of_another_size_is_refused(size: int) -> None:
    old, new = grown(4)
    with pytest.raises(ArchiveError, match="exactly"):
        apply_patch(old, make_patch(old, new, 3), size)


def test_every_truncation_is_refused() -> None:
    old, new = grown(4)
    for patch in truncations(make_patch(old, new, 3)):
        with pytest.raises(ArchiveError):
            apply_patch(old, patch, len(new))


def test_a_second_frame_is_refused() -> None:
    old, new = grown(2)
    patch = make_patch(old, new, 3)
    for more in (b"\0", patch, make_patch(b"", b"more", 3)):
        with pytest.raises(ArchiveError, match="belong to nothing"):
            apply_patch(old, patch + more, len(new))


def test_a_damaged_patch_never_ends_in_another_exception_or_another_size() -> None:
    old, new = grown(4)
    for _, patch in flips(make_patch(old, new, 3)):
        try:
            assert len(apply_patch(old, patch, len(new))) == len(new)
        except ArchiveError:
            continue


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_are_no_patch_are_refused(raw: bytes, magic: bool) -> None:
    try:
        assert len(apply_patch(b"old images", b"\x28\xb5\x2f\xfd" * magic + raw, 100)) == 100
    except ArchiveError:
        return


def test_a_bomb_is_cut_off() -> None:
    bomb = zstd.compress(bytes(64 << 20), level=19, window_log_max=20)
    assert len(bomb) < 10_000
    with pytest.raises(ArchiveError, match="exactly 4096"):
        apply_patch(b"", bomb, PAGE)


def test_a_window_beyond_the_limit_is_refused_before_it_is_allocated() -> None:
    # Frame header: magic, descriptor 0, window descriptor of 2 GiB; then an RLE block of 4096 bytes.
    frame = bytes.fromhex("28b52ffd00a8") + ((PAGE << 3) | 3).to_bytes(3, "little") + b"x"
    with pytest.raises(ArchiveError, match="is not a zstd frame"):
        apply_patch(b"", frame, PAGE)
    small = frame[:5] + b"\x10" + frame[6:]
    assert apply_patch(b"", small, PAGE) == b"x" * PAGE
