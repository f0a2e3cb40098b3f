"""`syncd verify`."""

import asyncio
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from syncd.cli import check_exclusive
from syncd.cli.identity import open_identity
from syncd.cli.output import print_json, print_table, size_text
from syncd.cli.places import Place, is_sealed_for, opened, verify_key_of
from syncd.cli.restore import Bar
from syncd.config import Config
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit
from syncd.errors import ArchiveError, ConfigError, IdentityError, StateError, SyncdError
from syncd.heap import bound_heap
from syncd.policy.proof import Expected, Finding, Report, what_is_proven
from syncd.state import STATE_FILE, read_status
from syncd.verify import verify

_SYSTEM: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Place):
    """What the user asked for."""

    sample: str | None
    full: bool
    quick: bool


def run_verify(request: Request, *, as_json: bool) -> None:
    """Verify every target, and say what is wrong. Raises SyncdError; ArchiveError where something is."""
    check_exclusive(sample=request.sample, full=request.full or None)
    share = 1.0 if request.full else _share(request.sample)
    bound_heap()
    looks = asyncio.run(_looks(request, share))
    if as_json:
        print_json([_as_json(where, look, _proven(request, share, look)) for where, look in looks])
    else:
        for where, look in looks:
            if isinstance(look, Report):
                _print(where, look, _proven(request, share, look))
            else:
                typer.echo(f"{where}: {look}")
    failed = [look for _, look in looks if not isinstance(look, Report)]
    if failed:
        raise failed[0]
    count = sum(len(look.findings) for _, look in looks if isinstance(look, Report))
    if count:
        raise ArchiveError(
            f"{count} {'object is' if count == 1 else 'objects are'} missing or damaged",
            hint="syncd snapshot NAME --whole stores the newest state anew; another target may have the rest",
        )


def _proven(request: Request, share: float, look: Report | SyncdError) -> tuple[str, ...]:
    compared = isinstance(look, Report) and look.compared
    return what_is_proven(sample=share, quick=request.quick, compared=compared)


def _share(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        share = float(text.removesuffix("%").strip()) / 100
    except ValueError:
        share = 0.0
    if not text.endswith("%") or not 0 < share <= 1:
        raise ConfigError(f"--sample {text}: not a share", hint="write it as 5%, above 0% and up to 100%")
    return share


async def _looks(request: Request, share: float) -> list[tuple[str, Report | SyncdError]]:
    kit = request.kit()
    if share and request.identity is None:
        raise IdentityError(
            "--sample and --full open what is sealed: they need the recovery kit", hint="--identity kit.txt"
        )
    settings = request.settings()
    identity = await open_identity(request, kit) if share else None
    targets: Sequence[str | None] = [None] if settings is None else request.targets(settings)
    looks: list[tuple[str, Report | SyncdError]] = []
    for target in targets:
        try:
            look: Report | SyncdError = await _look(request, settings, kit, target, identity, share)
        except SyncdError as e:
            look = e
        looks.append((target or "archive", look))
    return looks


async def _look(
    request: Request,
    settings: Config | None,
    kit: Kit | None,
    target: str | None,
    identity: Identity | None,
    share: float,
) -> Report:
    verify_key = verify_key_of(settings, kit, request.verify_key)
    # Before anything is listed: what is stored meanwhile is not missed.
    expected = await asyncio.to_thread(_expected, request, settings, target)
    async with opened(request, settings, kit, target, helped=True) as store:
        with Progress(
            TextColumn("verifying"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        ) as progress:
            report = await verify(
                store,
                database=request.name,
                verify_key=verify_key,
                identity=identity,
                sample=share,
                quick=request.quick,
                expected=expected,
                rng=_SYSTEM,
                progress=Bar(progress),
            )
        if report.findings and kit is not None and not await is_sealed_for(store, kit):
            raise IdentityError(
                f"the kit of {kit.database} at {kit.target_url} is not the kit of this archive",
                hint="give the kit that was made together with the configuration of its daemon",
            )
        return report


def _expected(request: Request, settings: Config | None, target: str | None) -> Expected | None:
    """What the daemon on this host stored there; None where there is no state to ask."""
    if settings is None or request.name is None:
        return None
    try:
        status = read_status(settings.state_of(request.name) / STATE_FILE)
    except StateError:
        return None
    for each in status.targets:
        if each.name == target and status.chain and each.stored is not None and each.snapshot is not None:
            return Expected(status.chain.generation, each.stored, each.snapshot)
    return None


def _as_json(where: str, look: Report | SyncdError, proven: Sequence[str]) -> dict[str, Any]:
    if isinstance(look, Report):
        return {"target": where, "error": "", **asdict(look), "proven": list(proven)}
    return {"target": where, "error": str(look)}


def _print(where: str, report: Report, proven: Sequence[str]) -> None:
    for title, entries in (("missing or damaged", report.findings), ("notes", report.notes)):
        if entries:
            print_table(f"{where}: {title}", ("object", "what", "affects"), _rows(entries))
    typer.echo(
        f"{where}: {report.snapshots} snapshots, {report.packs} packs, {report.bundles} bundles with"
        f" {report.deltas} deltas, {report.epochs} epochs; {report.objects} objects"
        f" ({size_text(report.bytes)}) fetched; {report.packs_opened} packs and"
        f" {report.deltas_opened} deltas opened; {len(report.findings)} missing or damaged"
    )
    if report.findings:
        typer.echo("  of everything that is not named above:")
    for line in proven:
        typer.echo(f"  {line}")


def _rows(entries: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(entry.object, entry.problem, entry.affects) for entry in entries]
