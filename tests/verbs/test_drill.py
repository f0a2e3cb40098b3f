"""Drills of whole and of damaged archives, with an identity and without one."""

import asyncio
import os
import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from typing_extensions import override

from syncd import drill as drill_module
from syncd.contents import read_contents
from syncd.drill import Outcome, draw, drill
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.errors import ArchiveError, IdentityError, StateError, StoreRefused, StoreUnavailable
from syncd.format.names import deltas_name, parse_seq
from syncd.log import Event
from syncd.source import integrity
from syncd.source.integrity import Integrity
from syncd.store.iam import SELF_TESTS
from syncd.store.memory import MemoryStore
from tests.support.damage import flipped
from tests.support.fakes import IDENTITY, SIGNING_KEY, START_MS, FakeClock, Recorder
from tests.verbs.attacks import ATTACKS, GENERATION, KINDS, NAME, Archive, build, names, remove, sibling

Attack = Callable[[Archive, str, random.Random], None]


class Room(NamedTuple):
    """An archive, and a place to drill in."""

    archive: Archive
    scratch: Path
    log: Recorder

    async def drill(
        self,
        seed: int = 1,
        *,
        identity: Identity | None = IDENTITY,
        store: MemoryStore | None = None,
        scratch: Path | None = None,
    ) -> Outcome:
        outcome = await drill(
            store or self.archive.store(),
            database=NAME,
            verify_key=SIGNING_KEY.verify_key,
            identity=identity,
            clock=FakeClock(),
            log=self.log,
            scratch=scratch or self.scratch,
            rng=random.Random(seed),
        )
        assert list(self.scratch.iterdir()) == []
        return outcome


@pytest.fixture
async def room(tmp_path: Path) -> Room:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Room(await build(tmp_path), scratch, Recorder())


def others(room: Room) -> set[str]:
    """What lies beside the generations."""
    return {name for name in room.archive.held if not name.startswith("generations/")}


async def test_a_position_is_restored_and_told(room: Room) -> None:
    outcome = await room.drill()
    assert (outcome.kind, outcome.error, outcome.generation) == ("restore", None, GENERATION)
    assert outcome.seq is not None
    assert outcome.bytes == len(room.archive.states[outcome.seq])
    assert outcome.captured_ms == START_MS + outcome.seq
    (line,) = room.log.of(Event.DRILL_PASSED)
    assert line["seq"] == outcome.seq
    assert others(room) == set()


async def test_every_bundles_end_can_be_drawn_the_newest_too(room: Room) -> None:
    seqs = {(await room.drill(seed)).seq for seed in range(40)}
    assert seqs == {0, 2, 4, 6, 8, 10, 12}


async def test_only_what_is_kept_is_drawn(room: Room) -> None:
    """With the deltas behind the first snapshot pruned, that snapshot is still a position."""
    for seq in (1, 3):
        del room.archive.held[deltas_name(GENERATION, seq)]
    outcomes = [await room.drill(seed) for seed in range(30)]
    assert [outcome.error for outcome in outcomes] == [None] * 30
    assert {outcome.seq for outcome in outcomes} == {0, 4, 6, 8, 10, 12}


def attack_all(archive: Archive, kind: str, attack: Attack) -> None:
    """Each object as if it were the only one."""
    after = dict(archive.held)
    for name in names(archive, kind):
        alone = Archive(archive.states, dict(archive.held))
        attack(alone, name, random.Random(name))
        after.pop(name)
        if name in alone.held:
            after[name] = alone.held[name]
    archive.held.clear()
    archive.held.update(after)


async def needed_by(room: Room, seed: int) -> list[str]:
    """Names of the bundles that this drill reads, the position's own deltas last."""
    contents = await read_contents(room.archive.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    plan = draw(contents, random.Random(seed))
    return [deltas_name(b.generation, b.first_seq) for b in plan.bundles if b.first_seq > plan.snapshot.seq]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_drill_that_needs_a_damaged_object_fails_and_no_other(
    room: Room, kind: str, attack: Attack
) -> None:
    """Every object of the kind is damaged: whatever is drawn needs one. Whole again, it passes."""
    held = dict(room.archive.held)
    attack_all(room.archive, kind, attack)
    damaged = dict(room.archive.held)
    for seed in range(3):
        room.archive.held.update(held)
        needs = await needed_by(room, seed)
        room.archive.held.clear()
        room.archive.held.update(damaged)
        outcome = await room.drill(seed)
        if kind == "deltas" and (not needs or attack is remove):
            continue  # a snapshot alone, or an archive that ends there
        assert outcome.error is not None
        assert outcome.error.exit_code in {15, 16}
        text = str(outcome.error)
        assert f"/{kind}/" in text or "delta" in text or kind == "snapshots", text
    lines = len(room.log.of(Event.DRILL_FAILED))
    room.archive.held.clear()
    room.archive.held.update(held)
    assert (await room.drill(2)).error is None
    assert len(room.log.of(Event.DRILL_FAILED)) == lines


async def test_a_delta_missing_in_the_middle_is_named(room: Room) -> None:
    del room.archive.held[deltas_name(GENERATION, 9)]
    errors = {str((await room.drill(seed)).error) for seed in range(30)}
    assert any("9 to 10" in error for error in errors)


async def test_another_identity(room: Room) -> None:
    outcome = await room.drill(identity=Identity.generate(Kem.X25519))
    assert isinstance(outcome.error, IdentityError)


async def test_a_target_out_of_reach_is_a_failed_drill(room: Room) -> None:
    class Gone(MemoryStore):
        @override
        async def get(self, name: str) -> bytes:
            raise StoreUnavailable("no answer")

        @override
        async def dirs(self, prefix: str) -> list[str]:
            raise StoreUnavailable("no answer")

    for identity in (IDENTITY, None):
        outcome = await room.drill(store=Gone(held=room.archive.held), identity=identity)
        assert isinstance(outcome.error, StoreUnavailable)
    assert len(room.log.of(Event.DRILL_FAILED)) == 2


async def test_what_sqlite_finds_fails_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(path: Path, *, quick: bool) -> Integrity:
        assert path.is_file()
        assert not quick
        return Integrity(("row 7 missing from index i",))

    monkeypatch.setattr(drill_module, "check_integrity", found)
    outcome = await room.drill()
    assert isinstance(outcome.error, ArchiveError)
    assert "row 7 missing" in outcome.error.message
    assert outcome.seq is not None


async def test_no_room(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1 << 20})()
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    outcome = await room.drill()
    assert isinstance(outcome.error, StateError)
    assert "1,048,576 free" in outcome.error.message


async def test_no_scratch_directory(room: Room, tmp_path: Path) -> None:
    outcome = await room.drill(scratch=tmp_path / "none")
    assert isinstance(outcome.error, StateError)


async def test_a_self_test_proves_and_leaves_nothing(room: Room) -> None:
    before = dict(room.archive.held)
    outcome = await room.drill(identity=None)
    assert (outcome.kind, outcome.error, outcome.left) == ("self-test", None, "")
    assert outcome.bytes > 0
    assert room.archive.held == before
    assert len(room.log.of(Event.DRILL_PASSED)) == 1


@pytest.mark.parametrize("kind", ["epochs", "packs", "snapshots"])
async def test_a_self_test_looks_at_the_newest_snapshot(room: Room, kind: str) -> None:
    attack_all(room.archive, kind, sibling)
    outcome = await room.drill(identity=None)
    assert isinstance(outcome.error, ArchiveError)
    assert f"/{kind}/" in outcome.error.message


async def test_a_self_test_looks_behind_the_newest_snapshot_only(room: Room) -> None:
    old = [name for name in names(room.archive, "deltas") if parse_seq(name) < 8]
    for name in old:
        del room.archive.held[name]
    assert (await room.drill(identity=None)).error is None
    del room.archive.held[deltas_name(GENERATION, 9)]
    outcome = await room.drill(identity=None)
    assert deltas_name(GENERATION, 9) in str(outcome.error)


class Spoiler(MemoryStore):
    """Changes what a self-test stores under names with `kind`, or refuses to delete."""

    kind = ""
    keeps = False

    @override
    async def put(self, name: str, data: bytes) -> None:
        if self.kind and name.startswith(SELF_TESTS) and f"/{self.kind}/" in name:
            data = flipped(data)
        await super().put(name, data)

    @override
    async def delete(self, name: str) -> None:
        if self.keeps:
            raise StoreRefused("no deletes here")
        await super().delete(name)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_target_that_changes_bytes_fails_the_self_test(room: Room, kind: str) -> None:
    store = Spoiler(held=room.archive.held)
    store.kind = kind
    outcome = await room.drill(identity=None, store=store)
    assert isinstance(outcome.error, ArchiveError)
    assert others(room) == set()


async def test_what_cannot_be_deleted_is_said_and_swept_a_day_later(room: Room) -> None:
    store = Spoiler(held=room.archive.held, clock=FakeClock())
    store.keeps = True
    outcome = await room.drill(identity=None, store=store)
    assert outcome.error is None
    assert "no deletes" in outcome.left
    litter = others(room)
    assert litter
    store.keeps = False
    for hours, rest in ((1, litter), (25, set[str]())):
        clock = FakeClock()
        clock.advance(hours * 3600)
        outcome = await drill(
            store,
            database=NAME,
            verify_key=SIGNING_KEY.verify_key,
            identity=None,
            clock=clock,
            log=room.log,
            scratch=room.scratch,
            rng=random.Random(0),
        )
        assert outcome.error is None
        assert others(room) == rest


class Stopper(MemoryStore):
    """Cancels its user at call `stop_at`."""

    calls = 0
    stop_at = -1
    user: asyncio.Future[Outcome] | None = None

    @override
    async def _arrive(self) -> None:
        self.calls += 1
        if self.calls == self.stop_at and self.user is not None:
            self.user.cancel()
        await super()._arrive()


@pytest.mark.parametrize("identity", [IDENTITY, None])
async def test_cancelled_at_any_call_it_leaves_nothing(room: Room, identity: Identity | None) -> None:
    store = Stopper(held=room.archive.held)
    await room.drill(identity=identity, store=store)
    total = store.calls
    assert total > 10
    for stop_at in range(1, total, total // 10):
        store.calls, store.stop_at = 0, stop_at
        store.user = asyncio.ensure_future(room.drill(identity=identity, store=store))
        await asyncio.wait([store.user])
        assert store.user.cancelled()
        assert list(room.scratch.iterdir()) == []
        assert not [name for name in store.held if name.startswith(SELF_TESTS)]


async def test_what_a_killed_drill_left_goes(room: Room) -> None:
    left = room.scratch / "syncd-drill-killed_0"
    left.mkdir()
    (left / "restored.db").write_bytes(b"half")
    then = left.stat().st_mtime - 3600
    os.utime(left, (then, then))
    assert (await room.drill()).error is None  # and nothing is in the directory


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("disk I/O error"), OSError(5, "Input/output error")]
)
async def test_a_scratch_disk_that_fails_is_told(
    room: Room, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(integrity, "_specimen", fail)
    outcome = await room.drill(identity=None)
    assert isinstance(outcome.error, StateError)
    assert outcome.error.message.startswith(f"{room.scratch} cannot be used: ")


async def test_cancelled_while_the_specimen_is_made_it_leaves_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def slow(path: Path, _states: int, _seed: int) -> list[bytes]:
        begun.set()
        assert cancelled.wait(10)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"made")
        return [b"made"]

    monkeypatch.setattr(drill_module, "make_specimen", slow)
    user = asyncio.ensure_future(room.drill(identity=None))
    assert await asyncio.to_thread(begun.wait, 10)
    user.cancel()
    await asyncio.wait([user], timeout=0.05)  # where it does not wait for the thread, it has ended by then
    cancelled.set()
    await asyncio.wait([user])
    assert user.cancelled()
    assert list(room.scratch.iterdir()) == []


def test_what_it_proves_is_said() -> None:
    kinds = [Outcome(kind, None, "", None, 0, 0, 0).proves for kind in ("restore", "self-test")]
    assert any("not proven: that your recovery kit" in line for line in kinds[1])
    assert not any("recovery kit" in line for line in kinds[0])
