"""An archive against a head that somebody kept: cut, set back, replaced, or newer."""

from pathlib import Path

import pytest

from syncd.archive import read_bundle, sign_bundle
from syncd.envelope.keys import SigningKey
from syncd.errors import ArchiveError, NoRestorePoint
from syncd.format.head import Head
from syncd.format.names import deltas_name, snapshot_name
from syncd.heads import Heads
from syncd.store.memory import Held
from tests.support.fakes import SIGNING_KEY
from tests.verbs.attacks import GENERATION, NAME, Archive, build, names

NEWER = "01BX5ZZKBKACTAV9WEVGEMMVRZ"


@pytest.fixture
async def archive(tmp_path: Path) -> Archive:
    """Snapshots at 0, 4 and 8; bundles of two deltas up to 12."""
    return await build(tmp_path)


def heads(archive: Archive) -> Heads:
    return Heads(archive.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)


def head_of(archive: Archive, name: str, seq: int) -> Head:
    return Head.of(GENERATION, seq, archive.held[name].data)


def drop(archive: Archive, kind: str, *firsts: int) -> None:
    for first in firsts:
        del archive.held[f"generations/{GENERATION}/{kind}/{first:016x}"]


async def test_the_newest_is_the_last_bundle_or_a_snapshot_behind_it(archive: Archive) -> None:
    last = deltas_name(GENERATION, 11)
    newest = await heads(archive).newest(GENERATION)
    assert newest is not None
    assert (newest.head, newest.object) == (head_of(archive, last, 12), last)
    drop(archive, "deltas", 7, 9, 11)
    newest = await heads(archive).newest(GENERATION)
    assert newest is not None
    assert newest.object == snapshot_name(GENERATION, 8)
    assert newest.head == head_of(archive, newest.object, 8)
    assert await heads(archive).newest(NEWER) is None


async def test_the_newest_is_not_believed_unsigned(archive: Archive) -> None:
    name = deltas_name(GENERATION, 11)
    bundle = read_bundle(
        archive.held[name].data,
        generation=GENERATION,
        first_seq=11,
        database=NAME,
        verify_key=SIGNING_KEY.verify_key,
    )
    archive.held[name] = Held(sign_bundle(SigningKey.generate(), bundle), 0)
    with pytest.raises(ArchiveError, match="signature"):
        await heads(archive).newest(GENERATION)


@pytest.mark.parametrize(
    ("kind", "name", "seq"), [("deltas", 11, 12), ("deltas", 5, 6), ("snapshots", 8, 8), ("snapshots", 0, 0)]
)
async def test_an_archive_that_is_as_far_or_further(archive: Archive, kind: str, name: int, seq: int) -> None:
    head = head_of(archive, f"generations/{GENERATION}/{kind}/{name:016x}", seq)
    assert (await heads(archive).check(head)).head.seq == 12


async def test_a_tail_that_was_cut_off(archive: Archive) -> None:
    head = head_of(archive, deltas_name(GENERATION, 11), 12)
    drop(archive, "deltas", 11)
    with pytest.raises(ArchiveError, match=f"the archive ends at {GENERATION}:10:.*, before {head}"):
        await heads(archive).check(head)


async def test_another_object_at_that_place(archive: Archive) -> None:
    """Another bundle that the daemon signed: its state was set back, and it went on in another way."""
    head = head_of(archive, deltas_name(GENERATION, 5), 6)
    bundle = read_bundle(
        archive.held[deltas_name(GENERATION, 5)].data,
        generation=GENERATION,
        first_seq=5,
        database=NAME,
        verify_key=SIGNING_KEY.verify_key,
    )
    other = type(bundle)(NAME, GENERATION, 99, bundle.deltas)
    archive.held[deltas_name(GENERATION, 5)] = Held(sign_bundle(SIGNING_KEY, other), 0)
    with pytest.raises(ArchiveError, match=f"{deltas_name(GENERATION, 5)}: it is another object"):
        await heads(archive).check(head)


async def test_what_retention_removed_is_not_missed(archive: Archive) -> None:
    head = head_of(archive, deltas_name(GENERATION, 5), 6)
    drop(archive, "deltas", 1, 3, 5)
    drop(archive, "snapshots", 0, 4)
    assert (await heads(archive).check(head)).head.seq == 12


async def test_generations(archive: Archive, tmp_path: Path) -> None:
    old = head_of(archive, deltas_name(GENERATION, 11), 12)
    before = dict(archive.held)
    await build(tmp_path, NEWER, archive.store())
    newest = await heads(archive).check(old)
    assert newest.head.generation == NEWER
    archive.held.clear()
    archive.held.update(before)
    with pytest.raises(ArchiveError, match="what was newer is gone"):
        await heads(archive).check(newest.head)
    for name in names(archive, "deltas") + names(archive, "snapshots"):
        del archive.held[name]
    with pytest.raises(NoRestorePoint):
        await heads(archive).check(old)
