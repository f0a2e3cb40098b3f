"""Prune where manifests, packs or marks are damaged."""

import pytest

from syncd.errors import (
    ArchiveError,
    FormatVersionError,
)
from syncd.format.names import hold_name, lease_name, tombstone_name
from syncd.marks import new_mark_id
from syncd.policy.inventory import Kind
from syncd.store.memory import Held
from tests.support.damage import flipped
from tests.support.fakes import START_MS
from tests.verbs.prunable import Archive


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "name", [hold_name(new_mark_id(START_MS)), lease_name(new_mark_id(START_MS))], ids=["hold", "lease"]
)
async def test_a_damaged_mark_stops_the_run(archive: Archive, name: str, dry_run: bool) -> None:
    archive.add(name, b"syncd")
    before = dict(archive.held)
    with pytest.raises(ArchiveError, match="nobody knows what this keeps"):
        await archive.prune(dry_run=dry_run)
    assert archive.held == before
    archive.add(name, b"syncdH\x02\x00" if name.startswith("holds") else b"syncdL\x02\x00")
    with pytest.raises(FormatVersionError):
        await archive.prune(dry_run=dry_run)


async def test_old_damaged_leases_and_damaged_tombstones_are_cleared_away(archive: Archive) -> None:
    archive.add(lease_name(new_mark_id(START_MS)), b"broken")
    archive.add(lease_name(new_mark_id(START_MS)), b"syncdL\x02\x00")
    archive.add(tombstone_name(new_mark_id(START_MS)), b"broken")
    archive.clock.advance(86_400)
    assert (await archive.prune()).tombstoned == 32
    assert [archive.held[name].data for name in archive.names("leases")] == [b"syncdL\x02\x00"]
    assert len(archive.names("tombstones")) == 1


@pytest.mark.parametrize("damage", [b"broken", b"syncdM\x02\x00"])
async def test_a_manifest_that_cannot_be_read_keeps_its_packs(archive: Archive, damage: bytes) -> None:
    name = archive.names("snapshots")[2]
    archive.held[name] = Held(damage, archive.held[name].modified_ms)
    packs = archive.numbers("packs")
    for _ in range(3):
        await archive.prune()
        archive.clock.advance(86_400)
    assert archive.numbers("packs") == packs
    assert 20 in archive.numbers("snapshots")
    assert 0 not in archive.numbers("snapshots")


@pytest.mark.parametrize("damage", ["gone", "cut"])
async def test_a_snapshot_that_lacks_a_pack_counts_for_nothing_and_is_named(
    archive: Archive, damage: str
) -> None:
    before = await archive.prune(dry_run=True)
    kept = [v.name for v in before.verdicts if v.kind is Kind.SNAPSHOT and v.keep]
    pack = archive.add_pack(99)
    archive.clock.advance(60)
    archive.seq += 1
    newest = archive.add_snapshot([0, 99])
    held = archive.held.pop(pack)
    if damage == "cut":
        archive.held[pack] = Held(held.data[:-1], held.modified_ms)
    report = await archive.prune(dry_run=True)
    (verdict,) = [v for v in report.verdicts if v.name == newest]
    what = "is missing" if damage == "gone" else f"has {len(held.data) - 1} bytes, not {len(held.data)}"
    assert verdict.keep
    assert f"pack {pack.rpartition('/')[2]} {what}: it counts for nothing" in verdict.reason
    assert [v.name for v in report.verdicts if v.kind is Kind.SNAPSHOT and v.keep] == [*kept, newest]


async def test_a_manifest_that_cannot_be_read_is_told_with_why(archive: Archive) -> None:
    name = archive.add_snapshot([0])
    held = archive.held[name]
    archive.held[name] = Held(flipped(held.data), held.modified_ms)
    report = await archive.prune(dry_run=True)
    (verdict,) = [v for v in report.verdicts if v.name == name]
    assert verdict.reason.startswith("it cannot be read: the signature of the manifest is wrong")
