"""Archives that are whole, and archives of which something is missing, damaged or another's."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncd.contents import read_contents
from syncd.destination import copy_shadow
from syncd.errors import ArchiveError, ConfigError, NoRestorePoint, StateError, WouldOverwrite
from syncd.model import Digest
from syncd.store.memory import Held, MemoryStore
from tests.support.damage import flipped
from tests.support.fakes import SIGNING_KEY, START_MS
from tests.verbs.bench import NAME, Bench, restore

ROW = "INSERT INTO t (a) VALUES (randomblob(3000))"


def failing(*_args: object, **_kwargs: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
async def archive(bench: Bench) -> Bench:
    """Snapshots at 0 and 5; deltas 1 to 7, of which 3 and 4 are one batch, in four bundles."""
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        for seq in (1, 2):
            bench.sql(ROW)
            assert await bench.capture(replica) == seq
        await bench.ship(replica)
        bench.sql(ROW)
        assert await bench.capture(replica, max_bytes=1) == 4
        await bench.ship(replica)
        bench.sql(ROW)
        assert await bench.capture(replica) == 5
        await bench.ship(replica)
        await replica.state.snapshots.begin("main", 5, first=True)
        await bench.ship(replica)
        for seq in (6, 7):
            bench.sql(ROW)
            assert await bench.capture(replica) == seq
        await bench.ship(replica)
    return bench


def names(bench: Bench, kind: str) -> list[str]:
    return sorted(name for name in bench.held if f"/{kind}/" in name)


def remove(bench: Bench, name: str) -> None:
    del bench.held[name]


def damage(bench: Bench, name: str) -> None:
    bench.held[name] = Held(flipped(bench.held[name].data, -20), 0)


def cut(bench: Bench, name: str) -> None:
    bench.held[name] = Held(bench.held[name].data[:-1], 0)


async def refused(bench: Bench, error: type[Exception], match: str, **asked: Any) -> None:
    """The restore fails with that error, and leaves nothing."""
    with pytest.raises(error, match=match):
        await restore(bench.store(), bench.directory / "restored.db", **asked)
    assert not (bench.directory / "restored.db").exists()
    assert not list(bench.directory.glob(".restored*"))


async def test_every_position_comes_back(archive: Bench) -> None:
    assert [len(names(archive, kind)) for kind in ("snapshots", "deltas", "epochs")] == [2, 4, 1]
    for seq, truth in archive.truth.items():
        restored, raw = await archive.restore(seq=seq)
        assert raw == truth
        assert (restored.seq, restored.bytes) == (seq, len(truth))
    restored, raw = await archive.restore()
    assert (restored.seq, restored.deltas, raw) == (7, 2, archive.truth[7])


async def test_a_part_of_a_batch_is_no_position(archive: Bench) -> None:
    await refused(
        archive, NoRestorePoint, r"seq 3 of generation \w+ is not a position.*before it is 2", seq=3
    )
    await refused(archive, NoRestorePoint, "seq 99 of generation", seq=99)


async def test_a_time_chooses_the_last_position_that_is_not_behind_it(archive: Bench) -> None:
    times = {seq: (await archive.restore(seq=seq))[0].captured_ms for seq in archive.truth}
    for seq, captured_ms in times.items():
        restored, raw = await archive.restore(at_ms=captured_ms)
        assert (restored.seq, raw) == (seq, archive.truth[seq])
    assert (await archive.restore(at_ms=times[5] - 1))[0].seq == 4
    assert (await archive.restore(at_ms=times[4] - 1))[0].seq == 2
    await refused(archive, NoRestorePoint, "nothing is kept as early as", at_ms=START_MS - 5000)


async def test_a_missing_bundle_is_named(archive: Bench) -> None:
    third = names(archive, "deltas")[1]
    assert third.endswith(f"{3:016x}")
    remove(archive, third)
    # The snapshot at 5 makes up for what lies before it, but not for what was asked from there.
    assert (await archive.restore())[1] == archive.truth[7]
    await refused(archive, NoRestorePoint, "seq 4 of generation", seq=4)
    assert (await archive.restore(seq=2))[1] == archive.truth[2]
    remove(archive, names(archive, "snapshots")[1])
    await refused(archive, ArchiveError, "deltas 3 to 4 of generation .* are missing.*--seq 2")
    assert (await archive.restore(seq=2))[1] == archive.truth[2]


async def test_a_bundle_lost_inside_a_stretch_is_no_gap(archive: Bench) -> None:
    times = {seq: (await archive.restore(seq=seq))[0].captured_ms for seq in archive.truth}
    _, second, third, _ = names(archive, "deltas")
    remove(archive, second)  # the next bundle ends at the snapshot of 5, so retention left it for nothing
    await refused(archive, ArchiveError, "deltas 3 to 4 of generation .* are missing", at_ms=times[4])
    remove(archive, third)  # the snapshot leads on: this may be in order
    restored, raw = await archive.restore(at_ms=times[4])
    assert (restored.seq, restored.gap, raw) == (2, (3, 5), archive.truth[2])


async def test_a_damaged_manifest_leaves_the_other_snapshot(archive: Bench) -> None:
    damage(archive, names(archive, "snapshots")[1])
    contents = await read_contents(archive.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    assert [snapshot.seq for snapshot in contents.snapshots] == [0]
    assert [error.message.partition(":")[0] for error in contents.damaged] == [names(archive, "snapshots")[1]]
    for seq in archive.truth:
        assert (await archive.restore(seq=seq))[1] == archive.truth[seq]


@pytest.mark.parametrize("harm", [damage, cut, remove])
@pytest.mark.parametrize(("kind", "which"), [("packs", 0), ("deltas", 0), ("snapshots", 0), ("epochs", 0)])
async def test_a_harmed_object_is_named(
    archive: Bench, harm: Callable[[Bench, str], None], kind: str, which: int
) -> None:
    for name in names(archive, "snapshots")[1:]:
        remove(archive, name)
    packs = names(archive, "packs")
    for name in packs:  # those of the snapshot at 0, whichever they are
        held = archive.held.pop(name)
        try:
            await archive.restore(seq=0)
        except ArchiveError:
            archive.held[name] = held
    name = names(archive, kind)[which]
    harm(archive, name)
    if harm is remove and kind == "snapshots":
        await refused(archive, NoRestorePoint, "holds no complete snapshot")
    elif harm is remove and kind == "deltas":
        await refused(archive, ArchiveError, "deltas 1 to 2 of generation .* are missing")
    else:
        await refused(archive, ArchiveError, name)


@pytest.mark.parametrize("kind", ["packs", "deltas", "snapshots"])
async def test_an_object_under_the_name_of_another_is_refused(archive: Bench, kind: str) -> None:
    first, second = names(archive, kind)[:2]
    archive.held[first], archive.held[second] = archive.held[second], archive.held[first]
    for seq in (0, 7):
        try:
            assert (await archive.restore(seq=seq))[1] == archive.truth[seq]
        except ArchiveError as e:
            assert kind in str(e)  # noqa: PT017 - what is still readable may be read
    await refused(archive, ArchiveError, kind, seq=2)


async def test_an_archive_of_nothing(bench: Bench) -> None:
    await refused(bench, NoRestorePoint, "memory: holds no complete snapshot")


async def test_an_existing_file_stays_unless_told(archive: Bench) -> None:
    to = archive.directory / "restored.db"
    for path in (to, *(Path(f"{to}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
        path.write_bytes(b"mine")
        with pytest.raises(WouldOverwrite, match=f"{path.name} exists"):
            await restore(archive.store(), to)
        assert path.read_bytes() == b"mine"
        path.unlink()
    to.write_bytes(b"old")
    Path(f"{to}-wal").write_bytes(b"stale")
    await restore(archive.store(), to, force=True)
    assert to.read_bytes() == archive.truth[7]
    assert not Path(f"{to}-wal").exists()
    assert to.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_appears_meanwhile_stays(archive: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    to = archive.directory / "restored.db"
    get = MemoryStore.get

    async def getting(store: MemoryStore, name: str) -> bytes:
        to.write_bytes(b"mine")
        return await get(store, name)

    with monkeypatch.context() as patch:
        contents_first = {"armed": False}

        async def armed(store: MemoryStore, name: str) -> bytes:
            contents_first["armed"] = contents_first["armed"] or "/epochs/" in name
            return await (getting if contents_first["armed"] else get)(store, name)

        patch.setattr(MemoryStore, "get", armed)
        with pytest.raises(WouldOverwrite, match="it appeared during the restore"):
            await restore(archive.store(), to)
    assert to.read_bytes() == b"mine"


async def test_places_that_cannot_be_written(archive: Bench) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        await restore(archive.store(), archive.directory / "none" / "restored.db")
    with pytest.raises(ConfigError, match="is a directory"):
        await restore(archive.store(), archive.directory)


@pytest.mark.parametrize("call", ["write", "ftruncate", "fsync", "link"])
async def test_nothing_is_half_written_when_the_disk_fails(
    archive: Bench, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    name = {"write": "pwrite", "link": "link"}.get(call, call)
    original = getattr(os, name)
    calls, failing = 0, 0

    def counted(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        return original(*args)

    to = archive.directory / "restored.db"
    with monkeypatch.context() as patch:
        patch.setattr(os, name, counted)
        await restore(archive.store(), to)
        total, to_fail = calls, 0
        assert total
        for to_fail in range(1, total + 1):
            to.unlink(missing_ok=True)
            calls, failing = 0, to_fail
            with pytest.raises((StateError, ConfigError)):
                await restore(archive.store(), to)
            assert not list(archive.directory.glob(".restored*"))
            # After the last step, the directory's own sync, the file is there, and whole.
            assert not to.exists() or to.read_bytes() == archive.truth[7]
    assert to_fail == total


async def test_a_disk_that_is_full_for_pieces_is_told(
    archive: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas 3 and 4 are one batch: the first one waits in a temporary file."""
    to = archive.directory / "restored.db"
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b", buffering=0))  # noqa: PTH123, SIM115
        with pytest.raises(StateError, match="cannot be read or written: No space left on device"):
            await restore(archive.store(), to, seq=4)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", failing)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            await restore(archive.store(), to)
    assert not list(archive.directory.glob("*restored*"))


async def test_the_shadow_can_be_copied(archive: Bench) -> None:
    async with archive.replica() as replica:
        chain = replica.chain
        assert chain is not None
    to = archive.directory / "copied.db"
    shadow, size = archive.state / "shadow.db", chain.page_count * chain.page_size

    def copy(expected: Digest, *, force: bool = False) -> None:
        copy_shadow(shadow, to, size=size, page_size=chain.page_size, expected=expected, force=force)

    with pytest.raises(StateError, match="the shadow changed while it was copied"):
        copy(Digest(1))
    assert not to.exists()
    copy(chain.digest)
    assert to.read_bytes() == archive.truth[7]
    with pytest.raises(WouldOverwrite):
        copy(chain.digest)
    copy(chain.digest, force=True)
    assert not list(archive.directory.glob(".copied*"))
