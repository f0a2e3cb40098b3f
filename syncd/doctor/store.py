"""What the doctor finds out from a target, by trying what the daemon, prune and restore will do there.

It leaves what a daemon leaves as well: the probe's object, and where it may not delete, a lease of a day.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from syncd.access import Access, open_access
from syncd.clock import Clock
from syncd.config import BucketUrl, Config, DirectoryUrl, Target
from syncd.doctor import findings
from syncd.doctor.findings import Finding
from syncd.errors import ClockError, StoreError, StoreRefused, StoreUnfit
from syncd.format.marks import Purpose
from syncd.format.names import GENERATIONS
from syncd.marks import lease
from syncd.prune import check_clock
from syncd.store import Store
from syncd.store.probe import probe

_LEAST_FREE: Final = 1 << 30


async def look_at_target(config: Config, name: str, database: str, clock: Clock) -> list[Finding]:
    """One target, below one database. Raises nothing that a target can bring about."""
    target = config.targets[name]
    found = [findings.of_transport(name, target.url, target.endpoint_url)]
    async with AsyncExitStack() as stack:
        access = open_access(target)
        stack.push_async_callback(access.close)
        below = access.below(f"{database}/")
        found.append(await _creates_once(name, below.writer))
        if found[-1].level is findings.Level.FAILURE:
            return found
        found += [each async for each in _of_the_kind(name, target, database)]
        found.append(await _clocks(name, below, database, clock))
        found.append(await _reads(name, below.restorer))
    return found


async def _creates_once(name: str, store: Store) -> Finding:
    try:
        kept = await probe(store)
    except StoreUnfit as e:
        return findings.failure(name, e.message, e.hint)
    except StoreError as e:
        return findings.failure(name, e.message, e.hint or "see `syncd status`")
    if kept:
        return findings.ok(name, "creates once: a second create was refused, and the first object kept")
    return findings.ok(name, "creates once: a second create was refused (what was kept may not be read)")


async def _of_the_kind(name: str, target: Target, database: str) -> AsyncIterator[Finding]:
    match target.place:
        case DirectoryUrl(path=path):
            yield await asyncio.to_thread(_directory, name, path)
        case BucketUrl():
            async for each in _bucket(name, target, f"{database}/"):
                yield each


def _directory(name: str, path: Path) -> Finding:
    return findings.of_space(f"{name}: {path}", shutil.disk_usage(path).free, _LEAST_FREE)


async def _bucket(name: str, target: Target, below: str) -> AsyncIterator[Finding]:
    from syncd.store.examine import Examiner  # noqa: PLC0415 - the SDK costs 0.3 s and 30 MB

    place = target.place
    if not isinstance(place, BucketUrl):
        return
    examiner = Examiner(
        place.bucket,
        f"{place.prefix}/" if place.prefix else "",
        endpoint_url=target.endpoint_url,
        region=target.region,
        profile=target.profile,
        timeout=target.timeout,
    )
    try:
        yield await _checksums(name, examiner.compares_checksums(below))
        yield await _excess(name, examiner.takes_away(below))
        yield await _public(name, examiner.open_to_all(below))
    finally:
        await examiner.close()


async def _checksums(name: str, asked: Awaitable[bool]) -> Finding:
    try:
        compares = await asked
    except StoreError as e:
        return findings.warning(name, f"does it compare checksums? {e.message}", e.hint or "try again")
    if compares:
        return findings.ok(name, "compares checksums: what arrives damaged is refused")
    return findings.warning(
        name,
        "took an object whose checksum was wrong: damage on the way is noticed at a restore only",
        "use a server that compares them; `syncd verify` and drills find damage meanwhile",
    )


async def _excess(name: str, asked: Awaitable[tuple[str, ...]]) -> Finding:
    try:
        may = await asked
    except StoreError as e:
        return findings.warning(name, f"what may the writer? {e.message}", e.hint or "try again")
    if not may:
        return findings.ok(name, "the writer may neither overwrite nor delete")
    return findings.warning(
        name,
        f"the writer may {' and '.join(may)}: whoever takes this host takes its backups",
        f"what `syncd policy writer --target {name}` prints, and Object Lock for what the store ignores",
    )


async def _public(name: str, asked: Awaitable[tuple[str, ...]]) -> Finding:
    try:
        open_to_all = await asked
    except StoreError as e:
        return findings.warning(name, f"is it open to all? {e.message}", e.hint or "try again")
    if not open_to_all:
        return findings.ok(name, "nobody without credentials may list or read (tried at this endpoint)")
    return findings.failure(
        name,
        f"everybody may {' and '.join(open_to_all)} there: contents are sealed, names and sizes are not",
        "block public access of the bucket",
    )


async def _clocks(name: str, access: Access, database: str, clock: Clock) -> Finding:
    """As prune compares them: a lease is put, and its time in the listing looked at."""
    store, before_ms = access.pruner, clock.now_ms()
    try:
        async with lease(store, clock, database, Purpose.PRUNE, ()) as protection:
            await check_clock(store, protection, before_ms, clock)
    except ClockError as e:
        return findings.failure(name, e.message, e.hint)
    except StoreRefused as e:
        return findings.warning(
            name,
            f"not pruned with these credentials, and the clocks not compared: {e.message}",
            f"give [targets.{name}.pruner] a profile, or run the doctor where it is pruned",
        )
    except StoreError as e:
        return findings.warning(name, f"the clocks could not be compared: {e.message}", e.hint or "try again")
    return findings.ok(name, "its clock and that of this host agree")


async def _reads(name: str, store: Store) -> Finding:
    try:
        generations = await store.dirs(GENERATIONS)
    except StoreRefused as e:
        return findings.warning(
            name,
            f"neither restored, verified nor drilled with these credentials: {e.message}",
            f"give [targets.{name}.restorer] a profile; the daemon's drills need it",
        )
    except StoreError as e:
        return findings.failure(name, e.message, e.hint or "try again")
    return findings.ok(name, f"can be listed: {len(generations)} generations")
