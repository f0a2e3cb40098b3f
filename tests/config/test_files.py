import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncd.config.files import NewFile, check_new, create_all
from syncd.errors import ConfigError, WouldOverwrite


@pytest.fixture(params=[0o000, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def three(directory: Path) -> list[NewFile]:
    return [
        NewFile(directory / "kit", b"kit", 0o600),
        NewFile(directory / "key", b"key", 0o600),
        NewFile(directory / "config", b"config", 0o640),
    ]


@pytest.mark.usefixtures("umask")
def test_all_are_written_with_their_mode_whatever_the_umask(tmp_path: Path) -> None:
    create_all(three(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "kit": b"kit",
        "key": b"key",
        "config": b"config",
    }
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["kit", "key", "config"])
@pytest.mark.parametrize(
    "make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["file", "dir", "link"]
)
def test_nothing_is_written_where_one_is_there(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    with pytest.raises(WouldOverwrite, match=f"{name} exists already") as caught:
        create_all(three(tmp_path))
    assert caught.value.exit_code == 17
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no directory"):
        create_all([*three(tmp_path), NewFile(tmp_path / "no" / "x", b"", 0o600)])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="there is no directory"):
        check_new(tmp_path / "file" / "x")


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="two files would have the same name"):
        create_all([*three(tmp_path), NewFile(tmp_path / "link" / "key", b"", 0o600)])
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


class Nth:
    """Lets calls through until the nth, which raises."""

    def __init__(self, wrapped: Callable[..., object], n: int, error: BaseException) -> None:
        self.wrapped, self.n, self.error, self.calls = wrapped, n, error, 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if self.calls == self.n:
            raise self.error
        return self.wrapped(*args, **kwargs)


@pytest.mark.parametrize(
    ("error", "seen"),
    [(OSError(28, "No space left on device"), ConfigError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize(("call", "count"), [("fsync", 4), ("open", 4), ("fchmod", 3)])
def test_whatever_fails_nothing_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    count: int,
    error: BaseException,
    seen: type[BaseException],
) -> None:
    for n in range(1, count + 1):
        with monkeypatch.context() as patched:
            nth = Nth(getattr(os, call), n, error)
            patched.setattr(os, call, nth)
            with pytest.raises(seen):
                create_all(three(tmp_path))
            assert nth.calls == n
        assert list(tmp_path.iterdir()) == [], (call, n)
    create_all(three(tmp_path))


def test_one_that_appears_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "key"
    create = os.open

    def open_after_them(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == theirs:
            theirs.write_bytes(b"theirs")
        return create(path, flags, mode)

    monkeypatch.setattr(os, "open", open_after_them)
    with pytest.raises(WouldOverwrite, match="key exists already"):
        create_all(three(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"key": b"theirs"}


def test_the_contents_stay_out_of_the_repr(tmp_path: Path) -> None:
    assert "SECRET" not in repr(NewFile(tmp_path, b"SECRET", 0o600))
