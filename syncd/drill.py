"""The restore drill: proof that what is stored can be restored, by restoring it.

- With an identity: a random kept position (a random snapshot, a random bundle behind it, the very newest
  included) is restored into a scratch directory. Its digest is that of the captured database, and SQLite's
  integrity_check finds nothing. That proves this position, with this identity; others only by chance.
- Without one: a sealed self-test. A small real database is sealed for an identity made for the occasion,
  stored in this target below `selftest/`, restored from there and compared byte for byte; beside that,
  what `verify` proves of the newest snapshot without a key. That proves the target, the way there and
  back, and the code; not that your recovery kit opens your archive.
- What was made is removed, in the scratch directory and in the target, whatever happens. What a killed
  drill left in the scratch directory, the next one removes; what a self-test left in the target that was
  killed, or stopped while the store hung, the next self-test after a day.
- It writes nothing below `generations/`. The lease of every restore keeps a prune away meanwhile.
"""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ulid import ULID

from syncd.clock import Clock, to_completion
from syncd.contents import Contents, read_contents
from syncd.durable import temporary_directory
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey, VerifyKey
from syncd.errors import ArchiveError, NoRestorePoint, StateError, StoreError, SyncdError
from syncd.log import Event, Log
from syncd.model import format_time
from syncd.policy.plan import Plan, plan_from
from syncd.restore import Restore, Restored
from syncd.source.integrity import check_integrity, make_specimen
from syncd.specimen import Specimen
from syncd.store import prefixed
from syncd.store.base import Store
from syncd.store.iam import SELF_TESTS
from syncd.verify import verify

_LITTER_MS: Final = 24 * 3_600_000
_PARTING_SECONDS: Final = 1.0
_SPARE_BYTES: Final = 64 << 20
_STATES: Final = 7
_PREFIX: Final = "syncd-drill-"
_SPECIMEN: Final = "selftest"

PROVES_RESTORE: Final = (
    "this position of this archive is restored with this identity, byte for byte as it was captured",
    "SQLite's integrity_check finds nothing in what was restored",
    "not proven: positions that were not drawn; each drill draws another one",
)
PROVES_SELF_TEST: Final = (
    "what is sealed on this host can be stored in this target and restored from it, byte for byte",
    "of the newest snapshot: signatures and packs are right, and no delta behind it is missing",
    "not proven: that your recovery kit and its passphrase open your archive (drill with --identity)",
    "not proven: what is inside your deltas",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drill came to. It passed where `error` is None.

    `seq` and `bytes` are those of the restored position, `captured_ms` its time; None, 0 and 0 where it
    came to none. `unchecked` are tables that SQLite cannot check without the application; `left`
    says why what a self-test stored is still in the target.
    """

    kind: str  # "restore" or "self-test"
    error: SyncdError | None
    generation: str
    seq: int | None
    captured_ms: int
    bytes: int
    duration_ms: int
    unchecked: tuple[str, ...] = ()
    left: str = ""

    @property
    def summary(self) -> str:
        """It in one line."""
        if self.error is not None:
            return f"{self.kind} failed: {self.error.message}"
        if self.kind == "restore":
            return f"restored seq {self.seq} of {format_time(self.captured_ms)}, {self.bytes} bytes, checked"
        return f"self-test passed, {self.bytes} bytes stored and restored"

    @property
    def proves(self) -> tuple[str, ...]:
        """What it proves if it passed, and what not, a sentence each."""
        return PROVES_RESTORE if self.kind == "restore" else PROVES_SELF_TEST


@dataclass(slots=True)
class _Drill:
    store: Store
    database: str
    verify_key: VerifyKey
    clock: Clock
    scratch: Path
    rng: random.Random
    restored: Restored | None = None
    generation: str = ""
    unchecked: tuple[str, ...] = ()
    left: str = ""

    async def restore(self, identity: Identity) -> None:
        """Restore a random position of the archive. Raises SyncdError."""
        contents = await read_contents(self.store, database=self.database, verify_key=self.verify_key)
        plan = draw(contents, self.rng)
        self.generation = plan.snapshot.generation
        size = plan.snapshot.page_size * plan.snapshot.page_count
        async with self._directory(size + 4 * sum(bundle.bytes for bundle in plan.bundles)) as directory:
            to = directory / "restored.db"
            restore = Restore(
                self.store,
                identity=identity,
                verify_key=self.verify_key,
                database=self.database,
                progress=_Silent(),
                clock=self.clock,
            )
            self.restored = await restore.run(plan, to, force=False)
            await self._check(to)

    async def self_test(self) -> None:
        """Store and restore a specimen, and look at the newest snapshot. Raises SyncdError."""
        report = await verify(
            self.store, database=self.database, verify_key=self.verify_key, newest=True, rng=self.rng
        )
        if report.findings:
            first = report.findings[0]
            more = f", and {len(report.findings) - 1} more" if len(report.findings) > 1 else ""
            raise ArchiveError(f"{first.object}: {first.problem}{more}", hint="`syncd verify` names them all")
        await self._sweep()
        run = str(ULID.from_timestamp(self.clock.now_ms() / 1000))
        store = prefixed(self.store, f"{SELF_TESTS}{run}/")
        self.generation = run
        try:
            async with self._directory(_SPARE_BYTES) as directory:
                await self._round_trip(store, run, directory)
        finally:
            self.left = await _before_parting(_remove_all(store))

    async def _round_trip(self, store: Store, generation: str, directory: Path) -> None:
        identity, signing_key = Identity.generate(Kem.MLKEM768_X25519), SigningKey.generate()
        seed = self.rng.randrange(1 << 32)
        # To its end also when cancelled: what it writes would come back into a directory that goes.
        states = await to_completion(asyncio.to_thread(make_specimen, directory / "made.db", _STATES, seed))
        specimen = Specimen(
            store,
            database=_SPECIMEN,
            generation=generation,
            states=states,
            signing_key=signing_key,
            recipients=(identity.recipient,),
            now_ms=self.clock.now_ms(),
            pack_pages=8,
        )
        await specimen.write(snapshots=(0, 3), bundles=(range(1, 3), range(3, 6), range(6, 7)), epochs=(0, 4))
        contents = await read_contents(store, database=_SPECIMEN, verify_key=signing_key.verify_key)
        for snapshot in contents.snapshots:
            plan = plan_from(snapshot, contents.snapshots, contents.bundles, at_ms=None, seq=None)
            to = directory / f"restored-{snapshot.seq}.db"
            restore = Restore(
                store,
                identity=identity,
                verify_key=signing_key.verify_key,
                database=_SPECIMEN,
                progress=_Silent(),
                clock=self.clock,
            )
            self.restored = await restore.run(plan, to, force=False)
            if await asyncio.to_thread(to.read_bytes) != states[-1]:
                raise ArchiveError("the self-test's database came back other than it was stored")
            await self._check(to)

    async def _check(self, path: Path) -> None:
        found = await check_integrity(path, quick=False)
        self.unchecked = found.unchecked
        if found.problems:
            raise ArchiveError(
                "it is restored byte for byte as it was captured, but SQLite's integrity_check finds:"
                f" {'; '.join(found.problems[:5])}",
                hint="the application's own file was damaged then: check it, and restore an earlier position",
            )

    async def _sweep(self) -> None:
        """Remove what self-tests left that were killed."""
        for name in await self.store.dirs(SELF_TESTS):
            with suppress(ValueError):
                if ULID.from_str(name).milliseconds < self.clock.now_ms() - _LITTER_MS:
                    await _remove_all(prefixed(self.store, f"{SELF_TESTS}{name}/"))

    @asynccontextmanager
    async def _directory(self, needed: int) -> AsyncIterator[Path]:
        """A new directory below `scratch`, gone afterwards. Raises StateError where its disk fails."""
        stack = ExitStack()
        try:
            made = _directory_in(self.scratch, needed + _SPARE_BYTES)
            yield await to_completion(asyncio.to_thread(stack.enter_context, made))
        except OSError as e:
            raise StateError(
                f"{self.scratch} cannot be used: {e.strerror}", hint="give another directory with --scratch"
            ) from e
        finally:
            await to_completion(asyncio.to_thread(stack.close))


async def drill(
    store: Store,
    *,
    database: str,
    verify_key: VerifyKey,
    identity: Identity | None,
    clock: Clock,
    log: Log,
    scratch: Path,
    rng: random.Random,
) -> Outcome:
    """One drill on one target: a restore, or without an identity a self-test. Raises no SyncdError.

    Args:
        store: the archive of the database.
        database: its name.
        verify_key: of the daemon that writes it.
        identity: opens it; None for the self-test.
        clock: says how long it took, and dates the self-test.
        log: gets drill.passed or drill.failed.
        scratch: an existing directory with room for the restored database.
        rng: draws the position.
    """
    one = _Drill(store, database, verify_key, clock, scratch, rng)
    started = clock.monotonic()
    error: SyncdError | None = None
    try:
        await (one.self_test() if identity is None else one.restore(identity))
    except SyncdError as e:
        error = e
    restored = one.restored
    outcome = Outcome(
        kind="self-test" if identity is None else "restore",
        error=error,
        generation=one.generation,
        seq=restored.seq if restored else None,
        captured_ms=restored.captured_ms if restored else 0,
        bytes=restored.bytes if restored else 0,
        duration_ms=round((clock.monotonic() - started) * 1000),
        unchecked=one.unchecked,
        left=one.left,
    )
    fields = {
        "kind": outcome.kind,
        "generation": outcome.generation,
        "seq": outcome.seq,
        "bytes": outcome.bytes,
        "duration_ms": outcome.duration_ms,
    }
    if error is None:
        log(Event.DRILL_PASSED, **fields)
    else:
        log(Event.DRILL_FAILED, **fields, error=str(error))
    return outcome


def draw(contents: Contents, rng: random.Random) -> Plan:
    """A random position: a snapshot, and so many of the bundles behind it up to the next one.

    Without a wish a restore stops at the last boundary of what it was given. Raises NoRestorePoint.
    """
    if not contents.snapshots:
        raise NoRestorePoint("there is no snapshot to restore")
    snapshot = rng.choice(contents.snapshots)
    plan = plan_from(snapshot, contents.snapshots, contents.bundles, at_ms=None, seq=None)
    following = plan.next_snapshot
    usable = [b for b in plan.bundles if following is None or b.first_seq <= following]
    behind = [count for count, b in enumerate(usable, 1) if b.first_seq > snapshot.seq]
    return replace(plan, bundles=tuple(usable[: rng.choice([0, *behind])]))


class _Silent:
    """Progress that nobody looks at."""

    def begin(self, total_bytes: int) -> None:
        """See restore.Progress."""

    def advance(self, fetched_bytes: int) -> None:
        """See restore.Progress."""


@contextmanager
def _directory_in(scratch: Path, needed: int) -> Iterator[Path]:
    free = shutil.disk_usage(scratch).free
    if free < needed:
        raise StateError(
            f"a drill needs {needed:,} bytes in {scratch}, which has {free:,} free",
            hint="make room, or give another directory with --scratch",
        )
    with temporary_directory(scratch, prefix=_PREFIX) as path:
        yield path


async def _before_parting(work: Coroutine[object, object, str]) -> str:
    """To its end; but who is cancelled, before or meanwhile, does not wait long for a store that hangs."""
    task, me = asyncio.ensure_future(work), asyncio.current_task()
    stopped = me is not None and me.cancelling() > 0
    try:
        await asyncio.wait([task], timeout=_PARTING_SECONDS if stopped else None)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_PARTING_SECONDS)
        raise
    finally:
        task.cancel()
        await asyncio.wait([task])
    return "it was stopped" if task.cancelled() else task.result()


async def _remove_all(store: Store) -> str:
    """Remove everything in it; returns why that failed, or nothing."""
    try:
        for name in [info.name async for info in store.objects("")]:
            await store.delete(name)
    except StoreError as e:
        return str(e)
    return ""
