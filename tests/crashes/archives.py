"""The scenarios of what works on an archive: prune, restore, verify and drill."""

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Final

import pytest

from syncd.contents import read_contents
from syncd.destination import copy_shadow
from syncd.drill import drill
from syncd.envelope.keys import Identity
from syncd.format.names import HEARTBEATS, HOLDS, LEASES, TOMBSTONES
from syncd.policy.retention import Retention
from syncd.prune import Report, prune
from syncd.ship import Shipper
from syncd.store.iam import SELF_TESTS
from syncd.verify import verify
from syncd.verify.shadow import check_shadow
from tests.crashes.points import End
from tests.crashes.scenario import Scenario
from tests.crashes.world import World, restorable
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.bench import NAME, restore

_DAY: Final = 86_400
_DAYS: Final = 6
_POLICY: Final = Retention(pitr_ms=_DAY * 1000, daily=2, max_share=1.0)
_MARKS: Final = (LEASES, TOMBSTONES, HOLDS, HEARTBEATS)
_TIDY: Final = frozenset({End.CANCEL, End.OUTAGE})  # what fails may be the removal itself
_OLD: Final = b"an older database"
_SIDE: Final = ("-wal", "-shm", "-journal")
_VERIFY_KEY: Final = SIGNING_KEY.verify_key


async def _days(world: World) -> None:
    """Some days, each with a snapshot and deltas."""
    world.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
    for _ in range(_DAYS):
        async with world.replica() as replica:
            for _ in range(2):
                world.sql("INSERT INTO t (a) VALUES (randomblob(30000))")
                await world.capture(replica, max_bytes=1)
                await world.ship(replica)
            await Shipper(replica, "main", world.store()).snapshot("asked for")
        world.clock.advance(_DAY)
    world.clock.advance(-_DAY / 2)


async def _prune(world: World, *, dry_run: bool = False) -> Report:
    return await prune(
        world.store(),
        database=NAME,
        retention=_POLICY,
        grace_ms=_DAY * 1000,
        clock=world.clock,
        log=world.log,
        verify_key=_VERIFY_KEY,
        dry_run=dry_run,
    )


async def _pruned_twice(world: World) -> None:
    await _prune(world)
    world.clock.advance(_DAY + 60)
    await _prune(world)


async def _after_prune(world: World, left: World, _end: End) -> list[str]:
    """What retention keeps is there, all that is there is whole, and it is finished later."""
    wrong = await _whole(left)
    left.clock.ms = world.clock.ms
    for _ in range(3):
        left.clock.advance(_DAY + 60)
        await _prune(left)
        wrong += await _whole(left)
    going = [v.name for v in (await _prune(left, dry_run=True)).verdicts if not v.keep]
    marks = [name for name in await _names(left) if name.startswith((LEASES, TOMBSTONES))]
    return wrong + [f"{name} is still there" for name in [*going, *marks]]


async def _whole(world: World) -> list[str]:
    """Every snapshot there is comes back as it was, and the newest state, too."""
    contents = await read_contents(world.store(), database=NAME, verify_key=_VERIFY_KEY)
    seqs = {snapshot.seq for snapshot in contents.snapshots}
    return await restorable(world, {*seqs, max(world.truth)})


async def _names(world: World) -> list[str]:
    return [info.name async for info in world.store().objects("")]


async def _restorable(world: World) -> None:
    """An archive, and files where restores go to."""
    await _days(world)
    for name in ("forced.db", *(f"forced.db{suffix}" for suffix in _SIDE)):
        (world.out / name).write_bytes(_OLD)


async def _restore(world: World) -> None:
    store = world.store()
    await restore(store, world.out / "new.db")
    await restore(store, world.out / "forced.db", force=True)


async def _copy(world: World) -> None:
    await asyncio.to_thread(_copy_shadow, world)


def _copy_shadow(world: World) -> None:
    status = world.status()
    assert status is not None
    assert status.chain is not None
    chain = status.chain
    copy_shadow(
        world.state / "shadow.db",
        world.out / "forced.db",
        size=chain.page_count * chain.page_size,
        page_size=chain.page_size,
        expected=chain.digest,
        force=True,
    )


async def _after_restore(world: World, left: World, end: End) -> list[str]:
    """Nothing is half-written under its name; who tries again gets it."""
    out, truth = left.out, world.truth[max(world.truth)]
    new = out / "new.db"
    wrong = ["new.db is half-written"] if new.exists() and new.read_bytes() != truth else []
    forced = (out / "forced.db").read_bytes()
    if forced not in {truth, _OLD}:
        wrong.append("forced.db is half-written")
    if forced == truth and any(Path(f"{out / 'forced.db'}{suffix}").exists() for suffix in _SIDE):
        wrong.append("forced.db has a log that is not its own")
    if end in _TIDY:
        wrong += [f"{path.name} was left over" for path in out.iterdir() if path.name.startswith(".")]
    for name in ("new.db", "forced.db"):
        await restore(left.store(), out / name, force=True)
        if (out / name).read_bytes() != truth:
            wrong.append(f"{name} did not come back")
    return wrong


async def _look(world: World) -> None:
    store = world.store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(world.out))
        found = await verify(
            store,
            database=NAME,
            verify_key=_VERIFY_KEY,
            identity=IDENTITY,
            sample=1.0,
            rng=random.Random(1),
        )
    if found.findings:
        raise AssertionError(found.findings)
    await _drill(world, IDENTITY)
    await _drill(world, None)
    async with world.replica() as replica:
        if problems := await check_shadow(replica):
            raise AssertionError(problems)


async def _drill(world: World, identity: Identity | None) -> None:
    outcome = await drill(
        world.store(),
        database=NAME,
        verify_key=_VERIFY_KEY,
        identity=identity,
        clock=world.clock,
        log=world.log,
        scratch=world.out,
        rng=random.Random(1),
    )
    if outcome.error is not None:
        raise outcome.error


async def _after_look(world: World, left: World, end: End) -> list[str]:
    """What was there is there as it was; beside it marks, and what a killed self-test left."""
    before = {name: (world.before / "target" / name).read_bytes() for name in _files(world.before / "target")}
    after = {name: (left.target / name).read_bytes() for name in _files(left.target)}
    wrong = [f"{name} is not as it was" for name in before if after.get(name) != before[name]]
    passing = (*_MARKS, SELF_TESTS)
    wrong += [f"{name} was written" for name in after.keys() - before if not name.startswith(passing)]
    if end in _TIDY:
        wrong += [f"{path.name} was left over" for path in left.out.iterdir()]
    left.clock.advance(2 * _DAY)
    await _drill(left, None)
    wrong += [f"{name} is still there" for name in _files(left.target) if _is_of_a_self_test(name)]
    return wrong


def _is_of_a_self_test(name: str) -> bool:
    """Not an upload that was cut off, which nobody reads, where nothing else is left of a self-test."""
    return name.startswith(SELF_TESTS) and "/~" not in name


def _files(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]


SCENARIOS = (
    Scenario("prune", _days, _pruned_twice, _after_prune),
    Scenario("restore", _restorable, _restore, _after_restore),
    Scenario("copy of the shadow", _restorable, _copy, _after_restore, plain=True),
    Scenario("verify and drill", _days, _look, _after_look),
)
