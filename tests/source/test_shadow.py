"""The shadow, and views of it that stay as they were while it goes on."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import StateError
from syncd.source.shadow import Shadow, View, stretches

SIZE = 512
LOCK_PAGE = (1 << 30) // 65536 + 1


def page(value: int, size: int = SIZE) -> bytes:
    return value.to_bytes(2) * (size // 2)


def full(*_args: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def shadow(tmp_path: Path) -> Iterator[Shadow]:
    shadow = Shadow(tmp_path / "shadow.db", SIZE)
    yield shadow
    shadow.close()


def whole(shadow: Shadow) -> bytes:
    assert shadow.path.stat().st_size == shadow.page_count * shadow.page_size
    return shadow.read(1, shadow.page_count)


def test_pages_are_written_and_the_rest_stays(shadow: Shadow) -> None:
    shadow.apply({1: page(1), 2: page(2), 4: page(4)}, 4)
    assert whole(shadow) == page(1) + page(2) + bytes(SIZE) + page(4)
    shadow.apply({2: page(7), 9: page(9)}, 3)  # what lies behind the end is not written
    assert whole(shadow) == page(1) + page(7) + bytes(SIZE)
    shadow.apply({}, 5)
    assert whole(shadow) == page(1) + page(7) + bytes(3 * SIZE)
    assert list(shadow.read_many([1, 3, 5])) == [(1, page(1)), (3, bytes(SIZE)), (5, bytes(SIZE))]


def test_it_is_private(shadow: Shadow) -> None:
    assert shadow.path.stat().st_mode & 0o777 == 0o600


def test_the_page_at_one_gibibyte_stays_zero(tmp_path: Path) -> None:
    shadow = Shadow(tmp_path / "shadow.db", 65536)
    try:
        shadow.apply({LOCK_PAGE - 1: page(1, 65536), LOCK_PAGE + 1: page(2, 65536)}, LOCK_PAGE + 1)
        assert shadow.path.stat().st_blocks < 1000  # a sparse file
        assert shadow.read(LOCK_PAGE - 1, 3) == page(1, 65536) + bytes(65536) + page(2, 65536)
    finally:
        shadow.close()


def test_a_disk_that_fails_is_a_failing_state(shadow: Shadow, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"none/shadow\.db cannot be read or written: No such file"):
        Shadow(tmp_path / "none" / "shadow.db")
    fd, shadow.fd = shadow.fd, os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(StateError):
            shadow.apply({1: page(1)}, 1)
        with pytest.raises(StateError):
            shadow.sync()
        with pytest.raises(StateError):
            shadow.rebase(1024)
    finally:
        os.close(shadow.fd)
        shadow.fd = fd


def test_a_sync_that_failed_once_cannot_succeed(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may have dropped the pages, and the next fsync knows nothing of it."""
    shadow.apply({1: page(1)}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StateError, match="No space left"):
            shadow.sync()
    with pytest.raises(StateError, match="could not be synced before"):
        shadow.sync()
    again = Shadow(shadow.path, SIZE, 1)
    again.sync()
    again.close()


def test_a_view_ends_quietly_on_a_full_disk(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow.apply({1: page(1)}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: PTH123, SIM115
        view = shadow.view()
    shadow.apply({1: page(2)}, 1)
    with pytest.raises(StateError, match="No space left"):
        view.read([1])
    view.close()
    assert shadow.views == []


@given(st.lists(st.integers(1, 60), unique=True).map(sorted), st.integers(1, 8))
def test_stretches_are_the_numbers_again(numbers: list[int], limit: int) -> None:
    grouped = list(stretches(numbers, limit))
    assert [first + i for first, count in grouped for i in range(count)] == numbers
    assert all(1 <= count <= limit for _, count in grouped)


APPLY = st.tuples(
    st.just("apply"),
    st.dictionaries(st.integers(1, 12), st.integers(0, 65535), max_size=5),
    st.integers(0, 12),
)
REBASE = st.tuples(st.just("rebase"), st.sampled_from([512, 1024, 2048]))
READ = st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 5))
OPEN = st.tuples(st.just("view"))
WANT = st.tuples(st.just("want"), st.integers(0, 2), st.integers(1, 3))
CLOSE = st.tuples(st.just("close"), st.integers(0, 2))


class Watched:
    """A view, the bytes that it must give, and the pages still to be read."""

    def __init__(self, shadow: Shadow) -> None:
        self.expected = shadow.read(1, shadow.page_count)
        self.view: View = shadow.view()

        self.left = list(range(1, shadow.page_count + 1))

    def want(self, step: int) -> None:
        self.left = [number for number in self.left if number % step == 0]
        self.view.want(np.array(self.left, np.int64))

    def read(self, count: int) -> bool:
        numbers, self.left = self.left[:count], self.left[count:]
        size = self.view.page_size
        expected = b"".join(self.expected[(n - 1) * size : n * size] for n in numbers)
        assert self.view.read(numbers) == expected
        return bool(numbers)


@given(st.lists(APPLY | REBASE | READ | OPEN | WANT | CLOSE, max_size=40))
def test_a_view_gives_the_frozen_state(steps: list[tuple[object, ...]]) -> None:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shadow = Shadow(directory / "shadow.db", SIZE)
        stack.callback(shadow.close)
        views: list[Watched] = []
        shadow.apply({n: page(n) for n in range(1, 9)}, 8)
        for step in steps:
            match step:
                case "apply", dict() as pages, int(count):
                    size = shadow.page_size
                    shadow.apply({n: page(value, size) for n, value in pages.items()}, count)
                case "rebase", int(size):
                    shadow.rebase(size)
                case "view", *_:
                    views.append(Watched(shadow))
                case "read", int(which), int(count) if which < len(views):
                    views[which].read(count)
                case "want", int(which), int(count) if which < len(views):
                    views[which].want(count)
                case "close", int(which) if which < len(views):
                    views.pop(which).view.close()
                case _:
                    pass
        for watched in views:
            while watched.read(3):
                pass
            watched.view.close()
        assert shadow.views == []
