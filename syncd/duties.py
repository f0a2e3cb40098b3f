"""What the calendar does for one database: snapshots, prunes, drills, checks of the source.

What it cannot do for want of room, say, is a failure of that job; capture and shipping go on. A drill that
finds the newest of a target damaged has the daemon mend it: with a snapshot that builds on nothing there.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from syncd.access import Access, explained
from syncd.config import Config, Drill, Retention
from syncd.config.kits import read_kit
from syncd.config.passphrase import read_passphrase
from syncd.drill import drill
from syncd.envelope.identity import unprotect
from syncd.envelope.keys import Identity
from syncd.errors import (
    ArchiveError,
    FormatVersionError,
    NoRestorePoint,
    SourceCorrupt,
    StateError,
    StoreRefused,
    SyncdError,
)
from syncd.jobs import Task
from syncd.prune import Report, prune
from syncd.replica import Replica
from syncd.ship import Shipper
from syncd.store.base import Store
from syncd.store.iam import Role
from syncd.verify import check_shadow, verify

_RANDOM: Final = random.SystemRandom()


def tasks_of(
    replica: Replica, config: Config, shippers: Mapping[str, Shipper], stores: Mapping[str, Access]
) -> list[Task]:
    """The jobs of one database, some of them for each target."""
    snapshot, retention = config.snapshot_of(replica.name), config.retention_of(replica.name)
    tasks = [Task("check", config.check.schedule, partial(_check, replica))]
    for target, shipper in shippers.items():
        access = stores[target].below(f"{replica.name}/")
        tasks += [
            Task(f"snapshot {target}", snapshot.schedule, partial(_snapshot, shipper), shipper.snapshot_due),
            Task(
                f"prune {target}",
                retention.schedule,
                partial(_prune, replica, target, access.pruner, retention),
            ),
            Task(
                f"drill {target}",
                config.drill.schedule,
                partial(_drill, replica, shipper, target, access.restorer, config.drill),
            ),
        ]
    return tasks


async def _snapshot(shipper: Shipper) -> str:
    taken = await shipper.snapshot("the calendar")
    if taken is None:
        return "nothing new"
    return f"seq {taken.seq}: {taken.changed + taken.moved} of {taken.pages} pages, {taken.bytes} bytes"


async def _prune(replica: Replica, target: str, store: Store, retention: Retention) -> str:
    try:
        report = await _pruned(replica, store, retention)
    except StoreRefused as e:
        raise explained(e, target, Role.PRUNER) from e
    return f"{report.removed} objects deleted, {report.tombstoned} marked, {report.kept} kept"


async def _pruned(replica: Replica, store: Store, retention: Retention) -> Report:
    return await prune(
        store,
        database=replica.name,
        retention=retention.rule,
        grace_ms=retention.grace_ms,
        clock=replica.clock,
        log=replica.log,
        verify_key=replica.sealing.signing_key.verify_key,
        dry_run=False,
    )


async def _drill(replica: Replica, shipper: Shipper, target: str, store: Store, settings: Drill) -> str:
    outcome = await drill(
        store,
        database=replica.name,
        verify_key=replica.sealing.signing_key.verify_key,
        identity=await _identity(settings),
        clock=replica.clock,
        log=replica.log,
        scratch=replica.shadow.path.parent,
        rng=_RANDOM,
    )
    error = outcome.error
    if isinstance(error, ArchiveError | NoRestorePoint) and not isinstance(error, FormatVersionError):
        raise ArchiveError(f"{error.message}; {await _mended(replica, shipper, store)}", hint=error.hint)
    if error is not None:
        raise explained(_of_the_job(error), target, Role.RESTORER)
    return outcome.summary


async def _mended(replica: Replica, shipper: Shipper, store: Store) -> str:
    """Where what is newest is damaged or missing, a snapshot that makes no use of it; says so."""
    verify_key = replica.sealing.signing_key.verify_key
    with suppress(NoRestorePoint):
        report = await verify(store, database=replica.name, verify_key=verify_key, newest=True, rng=_RANDOM)
        if not report.findings:
            return "what is newest there is whole"
    taken = await shipper.snapshot("a drill failed", whole=True)
    if taken is None:
        return "the target begins again with a snapshot"
    return f"a whole new snapshot was taken, and from seq {taken.seq} on positions can be restored"


async def _identity(settings: Drill) -> Identity | None:
    if settings.identity is None or settings.passphrase_file is None:
        return None
    kit, passphrase = read_kit(settings.identity), read_passphrase(settings.passphrase_file)
    return await asyncio.to_thread(unprotect, kit.protected_identity, passphrase)


async def _check(replica: Replica) -> str:
    try:
        problems = await check_shadow(replica)
    except StateError as e:
        raise _of_the_job(e) from e
    if problems:
        raise SourceCorrupt(
            f"quick_check: {'; '.join(problems[:3])}",
            hint="restore an older position, and see sqlite.org/recovery.html",
        )
    return "quick_check found nothing"


def _of_the_job(error: SyncdError) -> SyncdError:
    """Want of room fails the job; as an error of the state it would have the replica opened anew."""
    return SyncdError(error.message, hint=error.hint) if isinstance(error, StateError) else error
