"""Names that a power cut does not take away, and what killed processes left."""

import fcntl
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from syncd.config import edit
from syncd.destination import partial_beside, publish, spooled
from syncd.durable import make_directory, partial_file, sync_directory, temporary_directory
from syncd.errors import ConfigError
from syncd.source.shadow import Shadow
from tests.config.test_edit import SHORT, TEXT

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, named, renamed and removed, in order."""
    found: list[str] = []

    def name(path: Any) -> str:
        path = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else Path(path)
        return "temporary" if path.suffix == ".partial" else str(path.relative_to(tmp_path))

    def record(call: str, function: Callable[..., object]) -> None:
        def recorded(*args: Any, **kwargs: Any) -> object:
            found.append(" ".join([call, *(name(arg) for arg in args)]))
            return function(*args, **kwargs)

        monkeypatch.setattr(os, call, recorded)

    for call in ("fsync", "link", "replace", "unlink"):
        record(call, getattr(os, call))
    return found


def age(path: Path) -> None:
    """It was not touched for an hour."""
    then = path.stat().st_mtime_ns - HOUR_NS
    os.utime(path, ns=(then, then))


def test_a_stale_log_is_durably_gone_before_the_database_has_its_name(
    tmp_path: Path, steps: list[str]
) -> None:
    to = tmp_path / "chat.db"
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{to}{suffix}").touch()
    with partial_beside(to) as partial:
        publish(partial, to, force=True)
    removed = [f"unlink chat.db{suffix}" for suffix in ("-wal", "-shm", "-journal")]
    assert steps == [*removed, "fsync .", "replace temporary chat.db", "fsync .", "unlink temporary"]


def test_a_new_name_is_durable(tmp_path: Path, steps: list[str]) -> None:
    with partial_beside(tmp_path / "chat.db") as partial:
        publish(partial, tmp_path / "chat.db", force=False)
    assert steps == ["link temporary chat.db", "fsync .", "unlink temporary"]


def test_changed_recipients_are_durable(tmp_path: Path, steps: list[str]) -> None:
    path = tmp_path / "syncd.toml"
    path.write_text(TEXT.format(*SHORT))
    edit.replace(path, edit.with_recipients(path.read_text(), [SHORT[0]]))
    assert steps == ["fsync temporary", "replace temporary syncd.toml", "fsync .", "unlink temporary"]


def test_a_new_shadow_is_in_its_directory_for_good(tmp_path: Path, steps: list[str]) -> None:
    for _ in range(2):
        Shadow(tmp_path / "shadow.db").close()
    assert steps == ["fsync ."]


def test_new_directories_are_in_theirs(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "a").mkdir()
    for _ in range(2):
        make_directory(tmp_path / "a" / "b" / "c")
    assert steps == ["fsync a/b", "fsync a"]
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    left, young, held = (tmp_path / f".chat.db.{word}_000.partial" for word in ("left", "soon", "held"))
    others = [
        tmp_path / name
        for name in (
            ".chat.db.left_000",
            ".chat.db.of-the-user.partial",
            ".other.db.left_000.partial",
            "chat.db",
        )
    ]
    for path in (left, held, young, *others):
        path.touch()
    for path in (left, held, *others):
        age(path)
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with partial_file(tmp_path / "chat.db") as (_, new):
            assert set(tmp_path.iterdir()) == {new, young, held, *others}
    assert set(tmp_path.iterdir()) == {young, held, *others}


def test_two_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    with partial_file(tmp_path / "chat.db") as (_, first):
        age(first)
        with partial_file(tmp_path / "chat.db") as (_, second):
            assert set(tmp_path.iterdir()) == {first, second}
    assert list(tmp_path.iterdir()) == []


def test_directories_that_killed_processes_left_go_with_all_in_them(tmp_path: Path) -> None:
    left, held, other = (
        tmp_path / name for name in ("drill-left_000", "drill-held_000", "drill-of-the-user")
    )
    for path in (left, held, other):
        path.mkdir()
        (path / "file").touch()
        age(path)
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with temporary_directory(tmp_path, prefix="drill-") as new:
        assert set(tmp_path.iterdir()) == {new, held, other}
    os.close(descriptor)
    assert set(tmp_path.iterdir()) == {held, other}


@pytest.mark.parametrize(("number", "fails"), [(22, False), (95, False), (5, True), (28, True)])
def test_directories_that_cannot_be_synced_and_disks_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(number)) if fails else nullcontext():
        sync_directory(tmp_path)


def failing(*_args: object, **_kwargs: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["open", "fsync", "link", "replace"])
def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    with partial_beside(tmp_path / "chat.db") as partial, monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            publish(partial, tmp_path / "chat.db", force=call == "replace")
        patch.setattr(os, "open", failing)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            spooled(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir() if path.name != "chat.db"] == []


def test_a_temporary_file_that_cannot_be_removed_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, partial_beside(tmp_path / "chat.db") as partial:
        publish(partial, tmp_path / "chat.db", force=False)
        patch.setattr(os, "unlink", failing)
    assert (tmp_path / "chat.db").exists()
