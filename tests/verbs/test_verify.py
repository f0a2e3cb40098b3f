"""Archives that are whole, and archives of which every object in turn is removed, cut, swapped or flipped."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from syncd.archive import read_manifest, sign_bundle
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey
from syncd.errors import FormatVersionError, IdentityError, NoRestorePoint, ObjectNotFound, StoreUnavailable
from syncd.format.bundle import Bundle, decode_bundle
from syncd.format.delta import SealedDelta
from syncd.format.names import deltas_name, epoch_name, pack_name, parse_seq, snapshot_name
from syncd.policy.proof import Expected, Finding, Report
from syncd.store.base import ObjectInfo
from syncd.store.memory import Held, MemoryStore
from syncd.verify import verify
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.attacks import (
    ATTACKS,
    GENERATION,
    KINDS,
    NAME,
    Archive,
    build,
    empty,
    flip,
    forged,
    names,
    remove,
    truncate,
)

Attack = Callable[[Archive, str, random.Random], None]


@pytest.fixture
async def archive(tmp_path: Path) -> Archive:
    archive = await build(tmp_path)
    assert [len(names(archive, kind)) for kind in ("deltas", "epochs", "snapshots")] == [6, 3, 3]
    assert packs(archive) > 6
    return archive


def pack_of(archive: Archive, seq: int) -> str:
    """A pack that the snapshot at `seq` needs."""
    raw = archive.held[snapshot_name(GENERATION, seq)].data
    manifest = read_manifest(
        raw, generation=GENERATION, seq=seq, database=NAME, verify_key=SIGNING_KEY.verify_key
    )
    return pack_name(GENERATION, manifest.packs[-1].pack_id)


def packs(archive: Archive) -> int:
    return len(names(archive, "packs"))


async def look(
    archive: Archive,
    *,
    sample: float = 0.0,
    quick: bool = False,
    expected: Expected | None = None,
    marked: frozenset[str] = frozenset(),
    store: MemoryStore | None = None,
) -> Report:
    return await verify(
        store or archive.store(),
        database=NAME,
        verify_key=SIGNING_KEY.verify_key,
        identity=IDENTITY if sample else None,
        sample=sample,
        quick=quick,
        expected=expected,
        marked=marked,
        rng=random.Random(1),
    )


def blamed(report: Report) -> list[str]:
    return [finding.object for finding in report.findings]


async def test_a_whole_archive_without_a_key(archive: Archive) -> None:
    report = await look(archive)
    assert (report.findings, report.notes) == ([], [])
    assert report.objects >= len(archive.held)
    assert report.bytes >= sum(len(held.data) for held in archive.held.values())
    counts = (report.snapshots, report.packs, report.epochs, report.bundles, report.deltas)
    assert counts == (3, packs(archive), 3, 6, 12)
    assert (report.packs_opened, report.deltas_opened, report.snapshots_summed) == (0, 0, 0)


async def test_a_whole_archive_opened(archive: Archive) -> None:
    report = await look(archive, sample=1.0)
    assert (report.findings, report.notes) == ([], [])
    assert (report.packs_opened, report.deltas_opened, report.snapshots_summed) == (packs(archive), 12, 3)


async def test_a_sample_is_a_part_and_never_nothing(archive: Archive) -> None:
    report = await look(archive, sample=0.01, quick=True)
    assert report.findings == []
    assert (report.packs_opened, report.packs_listed, report.snapshots_summed) == (1, packs(archive) - 1, 0)
    assert 0 < report.deltas_opened <= 4


async def test_quick_fetches_no_pack(archive: Archive) -> None:
    report = await look(archive, quick=True)
    assert (report.findings, report.packs_listed) == ([], packs(archive))
    assert report.objects == len(archive.held) - packs(archive)


async def test_quick_sees_a_pack_that_is_gone_or_cut(archive: Archive) -> None:
    gone, cut, *_ = names(archive, "packs")
    remove(archive, gone, random.Random(0))
    truncate(archive, cut, random.Random(0))
    assert sorted(blamed(await look(archive, quick=True))) == [gone, cut]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_done_to_an_object_it_is_named_and_nothing_else(
    archive: Archive, kind: str, attack: Attack, seed: int
) -> None:
    rng = random.Random(f"{kind} {attack.__name__} {seed}")
    # Without the manifest of a later snapshot, or the last bundle, what is left is a whole archive.
    may_go = kind == "deltas" or (kind == "snapshots" and attack is remove)
    among = names(archive, kind)
    if may_go and attack is remove:
        among = [name for name in among if not _is_silent(name)]
    name = rng.choice(among)
    attack(archive, name, rng)
    report = await look(archive, sample=1.0)
    assert blamed(report) == [name], report.findings
    assert all(finding.affects for finding in report.findings)
    keyless = await look(archive)
    if kind == "deltas" and attack in {flip, forged}:
        assert set(blamed(keyless)) <= {name}
    else:
        assert blamed(keyless) == [name]


def _is_silent(name: str) -> bool:
    """Whether an archive without this object could have been made so."""
    seq = parse_seq(name)
    if "/snapshots/" in name:
        return seq > 0
    return seq in {3, 7, 11}  # in front of a snapshot, and the last one


async def test_a_bundle_gone_in_front_of_a_snapshot_is_noted(archive: Archive) -> None:
    name = deltas_name(GENERATION, 3)
    del archive.held[name]
    report = await look(archive, sample=1.0)
    assert (report.findings, [note.object for note in report.notes]) == ([], [name])


async def test_a_later_manifest_that_is_gone_leaves_packs_that_are_noted(archive: Archive) -> None:
    del archive.held[names(archive, "snapshots")[1]]
    report = await look(archive, sample=1.0)
    assert report.findings == []
    assert {note.object.split("/")[-2] for note in report.notes} == {"packs"}


async def test_what_the_daemon_stored_and_is_gone_from_the_end(archive: Archive) -> None:
    chain = GENERATION
    expected = Expected(chain, 12, 8)
    assert (await look(archive, expected=expected)).findings == []
    del archive.held[deltas_name(chain, 11)]
    assert (await look(archive)).findings == []
    assert (await look(archive, expected=expected)).findings == [
        Finding(
            deltas_name(chain, 11),
            "it is missing: the daemon stored everything up to 12",
            "positions from 11 on",
        )
    ]
    last = names(archive, "snapshots")[2]
    del archive.held[last]
    assert last in blamed(await look(archive, expected=expected))


async def test_a_last_bundle_that_cannot_be_read_is_not_also_missing(archive: Archive) -> None:
    name = deltas_name(GENERATION, 11)
    empty(archive, name, random.Random(0))
    assert blamed(await look(archive, expected=Expected(GENERATION, 12, 8))) == [name]


async def test_a_generation_that_the_daemon_stored_and_is_gone(archive: Archive) -> None:
    other = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
    assert blamed(await look(archive, expected=Expected(other, 1, 0))) == [f"generations/{other}/"]


async def test_many_damages_are_all_named(archive: Archive) -> None:
    rng = random.Random(5)
    chosen = {
        pack_of(archive, 8): flip,
        names(archive, "snapshots")[1]: truncate,
        deltas_name(GENERATION, 5): remove,
        deltas_name(GENERATION, 9): empty,
    }
    for name, attack in chosen.items():
        attack(archive, name, rng)
    assert sorted(blamed(await look(archive))) == sorted(chosen)


@pytest.mark.parametrize("seed", range(40))
async def test_several_damages_and_nobody_else_is_blamed(archive: Archive, seed: int) -> None:
    rng = random.Random(seed)
    damaged = set(rng.sample(sorted(archive.held), rng.randrange(2, 6)))
    before = Archive([], dict(archive.held))
    for name in sorted(damaged):
        alone = Archive([], dict(before.held))
        rng.choice(ATTACKS)(alone, name, rng)
        archive.held.pop(name)
        if name in alone.held:
            archive.held[name] = alone.held[name]
    report = await look(archive, sample=1.0)
    assert set(blamed(report)) <= damaged, report.findings
    assert len(blamed(report)) == len(set(blamed(report)))
    needed = {pack_of(archive, seq) for seq in (0, 4, 8) if not {snapshot_name(GENERATION, seq)} & damaged}
    always = {name for name in damaged if "/epochs/" in name or name in needed}
    assert always <= set(blamed(report)), report.findings


def bundle_at(archive: Archive, first: int) -> Bundle:
    return decode_bundle(archive.held[deltas_name(GENERATION, first)].data)[0]


def put_bundle(archive: Archive, deltas: Sequence[SealedDelta], *, key: SigningKey = SIGNING_KEY) -> None:
    """A bundle of these deltas, signed."""
    bundle = Bundle(NAME, GENERATION, 1, tuple(deltas))
    archive.held[deltas_name(GENERATION, bundle.first_seq)] = Held(sign_bundle(key, bundle), 0)


@pytest.mark.parametrize("reaches", [True, False])
async def test_a_gap_in_front_of_a_bundle_that_reaches_over_a_snapshot(
    archive: Archive, reaches: bool
) -> None:
    """Retention leaves it; where the bundle ends at the snapshot, what is in front of it was lost."""
    if reaches:
        put_bundle(archive, [*bundle_at(archive, 3).deltas, *bundle_at(archive, 5).deltas])
        del archive.held[deltas_name(GENERATION, 5)]
    name = deltas_name(GENERATION, 1)
    del archive.held[name]
    report = await look(archive, sample=1.0)
    assert blamed(report) == ([] if reaches else [name])
    assert [note.object for note in report.notes] == ([name] if reaches else [])


@pytest.mark.parametrize("sample", [0.0, 1.0])
async def test_a_bundle_that_a_writer_of_the_bucket_made(archive: Archive, sample: float) -> None:
    """The deltas are real ones, in their places: only the signature is not the daemon's."""
    put_bundle(archive, bundle_at(archive, 5).deltas, key=SigningKey.generate())
    (finding,) = (await look(archive, sample=sample)).findings
    assert finding.object == deltas_name(GENERATION, 5)
    assert finding.problem.startswith("the signature of the bundle is wrong")


async def test_a_bundle_that_names_an_epoch_that_never_was(archive: Archive) -> None:
    """The daemon signed it: then it is the epoch that is missing."""
    first, *rest = bundle_at(archive, 5).deltas
    put_bundle(archive, [SealedDelta(first.seq, 7, first.sealed), *rest])
    assert blamed(await look(archive, sample=1.0)) == [epoch_name(GENERATION, 7)]


async def test_an_epoch_that_only_one_bundle_names(archive: Archive) -> None:
    """Its removal is not blamed on the bundle."""
    del archive.held[deltas_name(GENERATION, 11)]
    epoch = names(archive, "epochs")[2]
    del archive.held[epoch]
    assert blamed(await look(archive)) == [epoch]


async def test_a_delta_of_another_history_does_not_follow(archive: Archive) -> None:
    """Two deltas that begin at 5, sealed with the right key, for another place, and signed."""
    one, two = bundle_at(archive, 5).deltas
    put_bundle(
        archive, [SealedDelta(one.seq, two.epoch, two.sealed), SealedDelta(two.seq, one.epoch, one.sealed)]
    )
    assert (await look(archive)).findings == []
    (finding,) = (await look(archive, sample=1.0)).findings
    assert finding.object == deltas_name(GENERATION, 5)
    assert "does not open" in finding.problem
    assert finding.affects == "positions 5 to 7"


async def test_another_writers_archive(archive: Archive) -> None:
    report = await verify(
        archive.store(),
        database=NAME,
        verify_key=SigningKey.generate().verify_key,
        rng=random.Random(0),
    )
    assert set(blamed(report)) == {*names(archive, "snapshots"), *names(archive, "epochs")} | (
        set(blamed(report)) & set(names(archive, "deltas"))
    )


async def test_another_identity_is_not_damage(archive: Archive) -> None:
    with pytest.raises(IdentityError):
        await verify(
            archive.store(),
            database=NAME,
            verify_key=SIGNING_KEY.verify_key,
            identity=Identity.generate(Kem.X25519),
            sample=1.0,
            rng=random.Random(0),
        )


async def test_opening_needs_an_identity(archive: Archive) -> None:
    with pytest.raises(IdentityError, match="recovery kit"):
        await verify(
            archive.store(),
            database=NAME,
            verify_key=SIGNING_KEY.verify_key,
            sample=0.5,
            rng=random.Random(0),
        )


async def test_a_newer_format_is_not_damage(archive: Archive) -> None:
    name = names(archive, "deltas")[0]
    raw = bytearray(archive.held[name].data)
    raw[6] += 1
    archive.held[name] = Held(bytes(raw), 0)
    with pytest.raises(FormatVersionError):
        await look(archive)


async def test_nothing_there() -> None:
    with pytest.raises(NoRestorePoint):
        await look(Archive([]))


async def test_strange_names_are_noted(archive: Archive) -> None:
    chain = GENERATION
    strange = [f"generations/{chain}/{kind}/hello" for kind in KINDS]
    for name in [*strange, f"generations/{chain}/other/x", "generations/x/y"]:
        archive.held[name] = Held(b"x", 0)
    report = await look(archive)
    assert report.findings == []
    assert sorted(note.object for note in report.notes) == sorted(
        [*strange, f"generations/{chain}/other/", "generations/x/"]
    )


class Liar(MemoryStore):
    """Its listings leave some objects out, and it does not give others."""

    hidden: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    on_refusal: Callable[[str], None] | None = None

    @override
    async def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        async for info in super().objects(prefix, after=after):
            if info.name not in self.hidden:
                yield info

    @override
    async def get(self, name: str) -> bytes:
        if name in self.refused:
            if self.on_refusal is not None:
                self.on_refusal(name)
            raise ObjectNotFound(f"no object {name}")
        return await super().get(name)


@pytest.mark.parametrize("kind", ["deltas", "epochs", "packs"])
@pytest.mark.parametrize("index", range(3))
async def test_what_no_listing_shows_is_found(archive: Archive, kind: str, index: int) -> None:
    name = names(archive, kind)[index]
    store = Liar(held=archive.held)
    store.hidden = frozenset({name})
    report = await look(archive, store=store)
    assert name in {finding.object for finding in [*report.findings, *report.notes]}
    assert set(blamed(report)) <= {name}


@pytest.mark.parametrize("kind", ["deltas", "packs", "snapshots"])
async def test_what_is_listed_and_not_given_is_found(archive: Archive, kind: str) -> None:
    name = names(archive, kind)[0]
    store = Liar(held=archive.held)
    store.refused = frozenset({name})
    report = await look(archive, store=store)
    (finding,) = [each for each in report.findings if each.object == name]
    assert "listed" in finding.problem


class Rotten(MemoryStore):
    """A server that notices that a disk has changed an object, or one that is gone."""

    rotten: str = ""
    gone = False

    @override
    async def get(self, name: str) -> bytes:
        if name == self.rotten or self.gone:
            raise StoreUnavailable(f"get {name}: the object arrived damaged")
        return await super().get(name)

    @override
    async def dirs(self, prefix: str) -> list[str]:
        if self.gone:
            raise StoreUnavailable("no answer")
        return await super().dirs(prefix)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [0, 2])
async def test_what_the_server_knows_to_be_damaged_is_named(archive: Archive, kind: str, index: int) -> None:
    store = Rotten(held=archive.held)
    store.rotten = names(archive, kind)[index]
    for sample in (0.0, 1.0):
        report = await look(archive, store=store, sample=sample)
        assert blamed(report) == [store.rotten]
        assert "arrived damaged" in report.findings[0].problem


async def test_a_server_that_is_gone_is_not_damage(archive: Archive) -> None:
    store = Rotten(held=archive.held)
    task = asyncio.ensure_future(look(archive, store=store))
    await asyncio.sleep(0)
    store.gone = True
    with pytest.raises(StoreUnavailable):
        await task


async def test_what_is_pruned_meanwhile_is_no_finding(archive: Archive) -> None:
    """The manifest goes while it is asked for, and with it the first bundles."""
    first, *_ = names(archive, "snapshots")
    gone = [first, *names(archive, "deltas")[:2]]
    store = Liar(held=archive.held)
    store.refused = frozenset({first})

    def prune(_name: str) -> None:
        for name in gone:
            archive.held.pop(name, None)

    store.on_refusal = prune
    report = await look(archive, store=store)
    assert report.findings == []
    assert first in {note.object for note in report.notes}


async def test_a_bundle_that_begins_before_the_end_of_another(archive: Archive) -> None:
    put_bundle(archive, bundle_at(archive, 5).deltas[1:])
    assert blamed(await look(archive)) == [deltas_name(GENERATION, 6)]


async def test_two_generations_stand_for_themselves(archive: Archive, tmp_path: Path) -> None:
    before = set(archive.held)
    await build(tmp_path, "01BX5ZZKBKACTAV9WEVGEMMVRZ", archive.store())
    fresh = sorted(set(archive.held) - before)
    report = await look(archive, sample=1.0)
    assert (report.generations, report.findings) == (2, [])
    flip(archive, fresh[0], random.Random(1))
    assert blamed(await look(archive, sample=1.0)) == [fresh[0]]


def marks_on(archive: Archive, *seqs: int) -> frozenset[str]:
    """Snapshots 0 .. and what only they need, as a prune marks it."""
    bundles = [name for name in names(archive, "deltas") if parse_seq(name) in seqs]
    return frozenset([*bundles, *(snapshot_name(GENERATION, seq) for seq in seqs)])


async def test_what_only_marked_snapshots_need_may_be_damaged(archive: Archive) -> None:
    marked = marks_on(archive, 0, 1, 3)
    rng = random.Random(3)
    for name in marked & set(archive.held):
        truncate(archive, name, rng)
    report = await look(archive, marked=marked)
    assert report.findings == []
    assert {note.object for note in report.notes} >= marked & set(archive.held)


async def test_marks_excuse_nothing_that_others_need(archive: Archive) -> None:
    """Who can delete can write tombstones as well."""
    needed = {pack_of(archive, 8), deltas_name(GENERATION, 9), snapshot_name(GENERATION, 8)}
    marked = frozenset(names(archive, "packs")) | needed
    for name in needed - {snapshot_name(GENERATION, 8)}:
        remove(archive, name, random.Random(0))
    assert set(blamed(await look(archive, marked=marked))) == needed - {snapshot_name(GENERATION, 8)}
    forged(archive, snapshot_name(GENERATION, 8), random.Random(0))
    assert snapshot_name(GENERATION, 8) in blamed(await look(archive, marked=marked))
