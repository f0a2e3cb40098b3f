"""`syncd prune` and `syncd undelete`."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import typer

from syncd.cli.hold import parse_until, signing_key_of
from syncd.cli.output import age_text, print_json, print_table, size_text
from syncd.cli.places import Place, opened, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config, Retention, find, load
from syncd.errors import ConfigError, NoRestorePoint, SyncdError
from syncd.log import Event
from syncd.model import format_time
from syncd.policy.inventory import Kind
from syncd.policy.verdicts import Verdict
from syncd.prune import Report, prune, undelete
from syncd.store.iam import Role

_UNDELETED_MS: Final = 7 * 86_400_000
_GROUPED: Final = frozenset({Kind.BUNDLE, Kind.PACK, Kind.EPOCH})


def run_prune(place: Place, *, dry_run: bool, as_json: bool) -> None:
    """Prune every target, and print what stays and what goes. Raises SyncdError, of the first that failed."""
    looks = asyncio.run(_reports(place, dry_run=dry_run))
    now_ms = SystemClock().now_ms()
    if as_json:
        print_json([_as_json(target, look, now_ms) for target, look in looks])
    else:
        for target, look in looks:
            _print(target, look, now_ms, dry_run=dry_run)
    for _, look in looks:
        if isinstance(look, SyncdError):
            raise look


def run_undelete(place: Place, *, until: str | None) -> None:
    """Hold what is tombstoned, in every target. Raises SyncdError; NoRestorePoint where nothing is."""
    until_ms = SystemClock().now_ms() + _UNDELETED_MS if until is None else parse_until(until)
    if not asyncio.run(_undelete(place, until_ms)):
        raise NoRestorePoint("nothing is tombstoned", hint="what the grace has ended for is gone")


async def _undelete(place: Place, until_ms: int) -> int:
    settings = place.settings()
    if settings is None:
        raise ConfigError(
            "undelete needs the configuration and the signing key", hint="give the database's NAME"
        )
    key = signing_key_of(settings)
    total = 0
    for target in place.targets(settings):
        async with opened(place, settings, None, target, Role.PRUNER) as store:
            try:
                hold, count = await undelete(
                    store,
                    database=place.name or "",
                    clock=SystemClock(),
                    signing_key=key,
                    until_ms=until_ms,
                )
            except NoRestorePoint:
                typer.echo(f"{target}: nothing is tombstoned")
                continue
        total += count
        typer.echo(f"{target}: {count} objects stay until {format_time(until_ms)}, hold {hold.mark_id}")
    return total


async def _reports(place: Place, *, dry_run: bool) -> list[tuple[str, Report | SyncdError]]:
    kit = place.kit()
    settings = place.settings()
    name = place.name or (kit.database if kit else None)
    if name is None:
        raise ConfigError("which database?", hint="give its NAME")
    retention = _retention(settings or load(find(place.config)), name)
    verify_key = verify_key_of(settings, kit)
    looks: list[tuple[str, Report | SyncdError]] = []
    for target in place.targets(settings) if settings else (None,):
        try:
            async with opened(place, settings, kit, target, Role.PRUNER) as store:
                report = await prune(
                    store,
                    database=name,
                    retention=retention.rule,
                    grace_ms=retention.grace_ms,
                    clock=SystemClock(),
                    log=_quiet,
                    verify_key=verify_key,
                    dry_run=dry_run,
                )
            looks.append((target or store.url, report))
        except SyncdError as e:
            looks.append((target or "the archive", e))
    return looks


def _retention(settings: Config, name: str) -> Retention:
    if name not in settings.databases:
        raise ConfigError(
            f"the configuration says nothing of {name!r}", hint="its [retention] decides what stays"
        )
    return settings.retention_of(name)


def _quiet(_event: Event, /, **_fields: object) -> None:
    """The table says it all."""


def _print(target: str, look: Report | SyncdError, now_ms: int, *, dry_run: bool) -> None:
    if isinstance(look, SyncdError):
        typer.echo(f"{target}: {look}")
        return
    for generation, found in groupby(look.verdicts, key=lambda v: v.generation):
        title = f"{target}: generation {generation}" if generation else f"{target}: holds and leases"
        print_table(
            title,
            ("object", "age", "size", "verdict", "why"),
            list(_rows(list(found), look, now_ms)),
        )
    for note in look.notes:
        typer.echo(f"{target}: {note}")
    going = sum(not v.keep for v in look.verdicts if v.generation)
    did = (
        f"{going} would go (nothing was written)"
        if dry_run
        else f"{look.tombstoned} tombstoned, {look.removed} removed ({size_text(look.removed_bytes)})"
    )
    typer.echo(f"{target}: {look.kept} objects stay, {did}")


def _rows(found: list[Verdict], report: Report, now_ms: int) -> Iterator[tuple[str, ...]]:
    """Snapshots one by one, deltas in ranges; packs and epochs by what becomes of them."""

    def fate(v: Verdict) -> tuple[str, str]:
        return _fate(v, report)

    for kind, same in groupby(found, key=lambda v: v.kind):
        verdicts = list(same)
        if kind in {Kind.PACK, Kind.EPOCH}:
            verdicts.sort(key=fate)
        groups = ([v] for v in verdicts) if kind not in _GROUPED else _grouped(verdicts, fate)
        for group in groups:
            dated = [v.dated_ms for v in group]
            ages = dict.fromkeys(age_text(now_ms - ms) for ms in (min(dated), max(dated)))
            size = size_text(sum(v.size for v in group)) if group[0].generation else ""
            yield _what(kind, group), " .. ".join(ages), size, *fate(group[0])


def _grouped(
    verdicts: Iterable[Verdict], fate: Callable[[Verdict], tuple[str, str]]
) -> Iterator[list[Verdict]]:
    for _, group in groupby(verdicts, key=fate):
        yield list(group)


def _fate(verdict: Verdict, report: Report) -> tuple[str, str]:
    if verdict.keep:
        return "keep", verdict.reason
    if verdict.name in report.gone or not verdict.generation:
        return "remove", verdict.reason
    due_ms = report.due_ms.get(verdict.name)
    when = "" if due_ms is None else f"; deleted after {format_time(due_ms)}"
    return "remove", verdict.reason + when


def _what(kind: Kind, group: Sequence[Verdict]) -> str:
    first, last = group[0], group[-1]
    match kind:
        case Kind.SNAPSHOT:
            return f"snapshot {first.number}"
        case Kind.BUNDLE:
            seqs = f"{first.number}" if first is last else f"{first.number} .. {last.number}"
            return f"deltas from {seqs} ({_count(len(group), 'object')})"
        case Kind.PACK:
            return _count(len(group), "pack")
        case Kind.EPOCH:
            return _count(len(group), "epoch")
        case Kind.HOLD | Kind.LEASE:
            return first.name


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_json(target: str, look: Report | SyncdError, now_ms: int) -> dict[str, Any]:
    if isinstance(look, SyncdError):
        return {"target": target, "error": look.message, "hint": look.hint}
    return {
        "target": target,
        "tombstoned": look.tombstoned,
        "removed": look.removed,
        "removed_bytes": look.removed_bytes,
        "kept": look.kept,
        "notes": list(look.notes),
        "objects": [
            {
                "name": v.name,
                "kind": str(v.kind),
                "generation": v.generation or None,
                "number": v.number,
                "time": format_time(v.dated_ms),
                "age_ms": now_ms - v.dated_ms,
                "bytes": v.size,
                "verdict": "keep" if v.keep else "remove",
                "why": v.reason,
                "deleted": v.name in look.gone,
                "deleted_after": format_time(look.due_ms[v.name]) if v.name in look.due_ms else None,
            }
            for v in look.verdicts
        ],
    }
