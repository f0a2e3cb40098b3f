"""What only a directory can show: modes, temporary files, the order of fsyncs, errors of the disk."""

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncd.errors import ObjectExists, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable, StoreUnfit
from syncd.store.directory import DirectoryStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def failing(number: int) -> Callable[..., Any]:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


async def names(store: DirectoryStore) -> list[str]:
    return [info.name async for info in store.objects("")]


async def test_what_crashes_left_goes_after_a_day(root: Path) -> None:
    store = DirectoryStore(root)
    for name in ("a/kept", "a/gone", "d/kept"):
        await store.put(name, b"x")
    old, young, alone = root / "a/~old", root / "d/~young", root / "b/c/~old"
    alone.parent.mkdir(parents=True)
    for path in (old, young, alone):
        path.write_bytes(b"half")
    for path in (old, alone):
        then = path.stat().st_mtime_ns - 25 * 3_600_000_000_000
        os.utime(path, ns=(then, then))
    await store.put("a/more", b"x")
    assert old.exists(), "only who may delete, deletes"
    await store.delete("a/gone")
    assert {path for path in root.rglob("*") if path.is_file()} == {
        *(root / name for name in ("a/kept", "a/more", "d/kept")),
        young,
    }
    assert not (root / "b").exists()


async def test_modes_let_nobody_else_in(root: Path) -> None:
    await DirectoryStore(root).put("a/b/c", b"x")
    assert [path.stat().st_mode & 0o777 for path in (root, root / "a", root / "a/b")] == [0o700] * 3
    assert (root / "a/b/c").stat().st_mode & 0o777 == 0o600


async def test_no_temporary_file_stays(root: Path) -> None:
    store = DirectoryStore(root)
    await store.put("a", b"x")
    with pytest.raises(ObjectExists):
        await store.put("a", b"y")
    assert [path.name for path in root.iterdir()] == ["a"]


async def test_an_object_is_durable_before_it_is_acknowledged(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def recorded_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("fsync file" if path.is_file() else f"fsync {path.relative_to(root.parent)}")
        fsync(descriptor)

    def recorded_link(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "link", recorded_link)
    await DirectoryStore(root).put("a/b/c", b"x")
    up = ["fsync store/a/b", "fsync store/a", "fsync store", "fsync ."]
    assert steps == ["fsync file", "link", *up]
    steps.clear()
    await DirectoryStore(root).put("a/b/c", b"x")
    assert steps == ["fsync file", "link", *up]  # whoever created it may not have come that far


@pytest.mark.parametrize("call", ["fsync", "link"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreUnavailable),
        (errno.EDQUOT, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EACCES, StoreRefused),
        (errno.EROFS, StoreRefused),
    ],
)
async def test_errors_of_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[StoreError]
) -> None:
    store = DirectoryStore(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        with pytest.raises(kind) as caught:
            await store.put("a", b"x")
    assert type(caught.value) is kind
    assert os.strerror(number) in caught.value.message
    assert list(root.iterdir()) == []
    await store.put("a", b"x")


async def test_other_calls_translate_errors_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(root)
    await store.put("a", b"x")
    monkeypatch.setattr(os, "scandir", failing(errno.EACCES))
    monkeypatch.setattr(Path, "read_bytes", failing(errno.EIO))
    monkeypatch.setattr(Path, "unlink", failing(errno.EROFS))
    with pytest.raises(StoreRefused, match="list"):
        await names(store)
    with pytest.raises(StoreRefused, match="list"):
        await store.dirs("")
    with pytest.raises(StoreUnavailable, match="get a"):
        await store.get("a")
    with pytest.raises(StoreRefused, match="delete a"):
        await store.delete("a")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_file_system_without_links_is_unfit(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    with pytest.raises(StoreUnfit, match="hard links"):
        await DirectoryStore(root).put("a", b"x")
    assert list(root.iterdir()) == []


async def test_a_parent_that_is_missing_is_a_disk_that_is_missing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "mnt" / "store")
    for call in (store.put("a", b"x"), store.get("a"), store.delete("a"), store.dirs("")):
        with pytest.raises(StoreRefused, match="mount the disk"):
            await call
    with pytest.raises(StoreRefused, match="mount the disk"):
        await names(store)
    assert list(tmp_path.iterdir()) == []


async def test_reading_creates_nothing(root: Path) -> None:
    store = DirectoryStore(root)
    with pytest.raises(ObjectNotFound):
        await store.get("a")
    await store.delete("a/b")
    assert await names(store) == []
    assert not root.exists()


async def test_a_root_that_is_a_file_is_refused(root: Path) -> None:
    root.write_bytes(b"")
    store = DirectoryStore(root)
    with pytest.raises(StoreRefused, match="not a directory"):
        await store.put("a", b"x")
    with pytest.raises(StoreRefused):
        await names(store)


async def test_a_name_is_not_also_a_directory(root: Path) -> None:
    store = DirectoryStore(root)
    await store.put("a/b", b"x")
    with pytest.raises(StoreRefused, match="directory"):
        await store.put("a", b"x")
    with pytest.raises(StoreRefused, match="in the way"):
        await store.put("a/b/c", b"x")
    assert await names(store) == ["a/b"]


async def test_symbolic_links_to_directories_are_not_followed(root: Path, tmp_path: Path) -> None:
    store = DirectoryStore(root)
    await store.put("a", b"x")
    (root / "loop").symlink_to(root)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert await names(store) == ["a"]
    assert await store.dirs("") == []


async def test_deleting_removes_directories_that_become_empty(root: Path) -> None:
    store = DirectoryStore(root)
    await store.put("a/b/c", b"x")
    await store.put("a/d", b"x")
    await store.delete("a/b/c")
    assert not (root / "a/b").exists()
    await store.delete("a/d")
    assert list(root.iterdir()) == []


async def test_puts_beside_deletes_that_remove_their_directory(root: Path) -> None:
    store = DirectoryStore(root)

    async def put_and_delete(name: str) -> None:
        for number in range(40):
            await store.put(name, b"%d" % number)
            assert await store.get(name) == b"%d" % number
            await store.delete(name)

    await asyncio.gather(*(put_and_delete(f"a/b/{number}") for number in range(4)))
    assert await names(store) == []


async def test_a_directory_that_keeps_vanishing_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.ENOENT))
    with pytest.raises(StoreUnavailable, match="vanishing"):
        await DirectoryStore(root).put("a/b", b"x")


async def test_a_killed_writer_leaves_whole_objects_only(root: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from syncd.store.directory import DirectoryStore

        async def main():
            store = DirectoryStore(Path(sys.argv[1]))
            for number in range(100_000):
                await store.put(f"d/{number:08}", bytes([number % 251]) * (1 << 20))
                print(number, flush=True)

        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(20)]
        writer.kill()
    assert acknowledged[-1] == b"19\n"
    store = DirectoryStore(root)
    kept = await names(store)
    assert len(kept) >= 20
    for number, name in enumerate(kept):
        assert name == f"d/{number:08}"
        assert await store.get(name) == bytes([number % 251]) * (1 << 20)


def test_a_relative_root_is_a_defect() -> None:
    with pytest.raises(ValueError, match="absolute"):
        DirectoryStore(Path("store"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
async def test_what_root_puts_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    root.mkdir()
    os.chown(root, 65534, 65534)
    store = DirectoryStore(root)
    await store.put("leases/one", b"x")
    assert (root / "leases").stat().st_uid == (root / "leases" / "one").stat().st_uid == 65534
