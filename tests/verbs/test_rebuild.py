"""Restores of archives that are sealed well and yet odd: wrong deltas, sparse packs, many snapshots."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from syncd import replicate
from syncd.archive import new_epoch, seal_manifest, seal_pack
from syncd.change import Change, build_change
from syncd.contents import find_plan, plan_restore, read_contents
from syncd.errors import ArchiveError, NoRestorePoint, StoreUnavailable
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import LEASES, epoch_name, pack_name, snapshot_name
from syncd.format.runs import Runs
from syncd.model import Digest
from syncd.reader import Reader, runs_by_pack
from syncd.ship import Shipper
from syncd.source.pending import Piece
from syncd.source.shadow import Shadow
from syncd.store.memory import Held, MemoryStore
from tests.support.fakes import IDENTITY, SIGNING_KEY, START_MS, FakeClock
from tests.verbs.attacks import build
from tests.verbs.bench import NAME, Bench, restore

GENERATION = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SIZE = 512
ROW = "INSERT INTO t (a) VALUES (randomblob(3000))"


class Watched(MemoryStore):
    """Notes what is read, and which leases there are meanwhile."""

    def __init__(self, held: dict[str, Held]) -> None:
        super().__init__(held=held, clock=FakeClock())
        self.names = held
        self.read: list[str] = []
        self.leases: set[int] = set()

    @override
    async def get(self, name: str) -> bytes:
        self.read.append(name)
        if "/packs/" in name or "/deltas/" in name:
            self.leases.add(sum(each.startswith(LEASES) for each in self.names))
        await asyncio.sleep(0)
        return await super().get(name)

    def count(self, kind: str) -> int:
        return sum(f"/{kind}/" in name for name in self.read)


class Full(Watched):
    """Takes nothing more."""

    @override
    async def put(self, name: str, data: bytes) -> None:
        raise StoreUnavailable("the disk is full")


async def grown(bench: Bench, *, snapshots: Sequence[int], until: int) -> None:
    async with bench.replica() as replica:
        await bench.capture(replica)
        await bench.ship(replica)
        for seq in range(1, until + 1):
            bench.sql(ROW)
            assert await bench.capture(replica) == seq
            await bench.ship(replica)
            if seq in snapshots:
                assert await Shipper(replica, "main", bench.store()).snapshot("test")


async def test_a_delta_that_is_wrong_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealed well, and all that follow it: only what it gives is not what it says."""
    built = 0

    def lying(piece: Piece, shadow: Shadow, digest: Digest) -> Change:
        nonlocal built
        change = build_change(piece, shadow, digest)
        built += 1
        if built != 3:
            return change
        return replace(change, delta=replace(change.delta, digest=Digest(change.delta.digest.value ^ 1)))

    monkeypatch.setattr(replicate, "build_change", lying)
    await grown(bench, snapshots=(), until=5)
    assert built == 5
    to = bench.directory / "restored.db"
    for seq in (3, 4, 5):
        with pytest.raises(ArchiveError, match="delta 3: applying it does not give the database"):
            await restore(bench.store(), to, seq=seq)
        assert not to.exists()
    for seq in (0, 1, 2):
        assert (await bench.restore(seq=seq))[1] == bench.truth[seq]


async def test_one_manifest_is_read_to_choose_the_newest(bench: Bench) -> None:
    await grown(bench, snapshots=range(1, 9), until=9)
    for seq, chosen in ((None, 8), (5, 5), (0, 0)):
        store = Watched(bench.held)
        plan, damaged = await find_plan(store, database=NAME, verify_key=SIGNING_KEY.verify_key, seq=seq)
        assert (store.count("snapshots"), damaged, plan.snapshot.seq) == (1, (), chosen)


async def test_the_choice_is_that_of_who_reads_all(bench: Bench) -> None:
    await grown(bench, snapshots=(2, 5, 6), until=8)
    key = SIGNING_KEY.verify_key
    moments = range(START_MS - 1000, START_MS + 20_000, 500)
    asked = [(seq, None) for seq in range(10)] + [(None, at_ms) for at_ms in moments]
    names = [name for name in sorted(bench.held) if "/snapshots/" in name]
    for broken in ("", names[1], names[-1]):
        held = dict(bench.held)
        if broken:
            held[broken] = Held(held[broken].data[:-1], 0)
        contents = await read_contents(Watched(held), database=NAME, verify_key=key)
        for seq, at_ms in asked:
            found, expected = None, None
            with suppress(NoRestorePoint):
                found, _ = await find_plan(Watched(held), database=NAME, verify_key=key, seq=seq, at_ms=at_ms)
            with suppress(NoRestorePoint):
                expected = plan_restore(contents, seq=seq, at_ms=at_ms)
            if found and expected and seq is not None:
                # Snapshots behind it are not looked at: no gap before it can be theirs.
                expected = replace(expected, later=found.later)
            assert found == expected, (broken, seq, at_ms)


@pytest.mark.parametrize("stored_ms", [1, 1000])
async def test_the_generation_that_was_stored_last_is_restored(tmp_path: Path, stored_ms: int) -> None:
    """A host lost its state while its clock was behind: what it stored since then has the older name."""
    older, newer = GENERATION, GENERATION[:-1] + "W"
    held: dict[str, Held] = {}
    for generation, ms in ((older, stored_ms), (newer, 500)):
        (tmp_path / generation).mkdir()
        made = (await build(tmp_path / generation, generation)).held
        held |= {name: Held(each.data, ms) for name, each in made.items()}
    expected = (older, newer) if stored_ms == 1000 else (newer, None)
    key = SIGNING_KEY.verify_key
    contents = await read_contents(Watched(held), database=NAME, verify_key=key)
    for seq in (None, 3):
        plan, _ = await find_plan(Watched(held), database=NAME, verify_key=key, seq=seq)
        assert (plan.snapshot.generation, plan.passed_over) == expected
        read = plan_restore(contents, seq=seq)
        assert (read.snapshot, read.passed_over) == (plan.snapshot, plan.passed_over)


async def test_a_lease_is_held_while_a_restore_runs(bench: Bench) -> None:
    await grown(bench, snapshots=(), until=3)
    store = Watched(bench.held)
    await restore(store, bench.directory / "restored.db")
    assert store.leases == {1}
    assert not [name for name in bench.held if name.startswith(LEASES)]


async def test_a_store_that_takes_no_lease_is_read_all_the_same(bench: Bench) -> None:
    await grown(bench, snapshots=(), until=3)
    store = Full(bench.held)
    to = bench.directory / "restored.db"
    await restore(store, to)
    assert store.leases == {0}
    assert to.read_bytes() == bench.truth[3]


async def test_an_epoch_is_fetched_once(bench: Bench) -> None:
    await grown(bench, snapshots=(), until=6)
    store = Watched(bench.held)
    reader = Reader(store, identity=IDENTITY, verify_key=SIGNING_KEY.verify_key, database=NAME)
    (generation,) = {name.split("/")[1] for name in bench.held if name.startswith("generations/")}
    keys = await asyncio.gather(*(reader.key(generation, 1) for _ in range(8)))
    assert all(key is keys[0] for key in keys)
    assert store.count("epochs") == 1


PLACES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40)


@given(PLACES)
async def test_packs_of_which_little_is_live(places: list[tuple[int, int]]) -> None:
    """Page n lies in the pack that places[n - 1] says, behind so many dead pages."""
    held: dict[str, Held] = {}
    store = MemoryStore(held=held, clock=FakeClock())
    images = [os.urandom(SIZE) for _ in places]
    key, epoch = new_epoch(
        NAME,
        GENERATION,
        1,
        created_ms=START_MS,
        recipients=(IDENTITY.recipient,),
        signing_key=SIGNING_KEY,
    )
    await store.put(epoch_name(GENERATION, 1), epoch)
    contents: dict[int, list[tuple[int, bytes]]] = {}
    offsets: list[int] = []
    for number, (pack, dead) in enumerate(places, 1):
        pages = contents.setdefault(pack, [])
        for k in range(dead):  # numbers of pages that are taken from elsewhere, or gone
            if (pages[-1][0] if pages else 0) < number * 3 + k:
                pages.append((number * 3 + k, bytes(SIZE)))
        pages[:] = [page for page in pages if page[0] < number]
        offsets.append(len(pages))
        pages.append((number, images[number - 1]))
    order = sorted(contents)
    packs: list[PackRef] = []
    for pack in order:
        pack_id = bytes([pack]) * 16
        content = b"".join(image for _, image in contents[pack])
        raw = seal_pack(key, pack_id, SIZE, [number for number, _ in contents[pack]], content, 3)
        await store.put(pack_name(GENERATION, pack_id), raw)
        packs.append(PackRef(pack_id, len(raw), sha256(raw).digest(), len(contents[pack]), key.number))
    manifest = Manifest(
        database=NAME,
        generation=GENERATION,
        seq=7,
        epoch=1,
        captured_ms=START_MS,
        created_ms=START_MS,
        page_size=SIZE,
        page_count=len(images),
        packs=tuple(packs),
        runs=Runs.of_places(np.array([order.index(p) for p, _ in places]), np.array(offsets)),
    )
    digest = Digest().replace(added=enumerate(images, 1))
    await store.put(snapshot_name(GENERATION, 7), seal_manifest(key, SIGNING_KEY, manifest, digest))
    by_pack = runs_by_pack(manifest)
    assert sorted((*row, i) for i, rows in enumerate(by_pack) for row in rows.tolist()) == [
        (run.first_page, run.count, run.offset, run.pack) for run in manifest.runs
    ]
    with TemporaryDirectory() as directory:
        to = Path(directory, "restored.db")
        restored = await restore(store, to)
        assert (restored.seq, to.read_bytes()) == (7, b"".join(images))
