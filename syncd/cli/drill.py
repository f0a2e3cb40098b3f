"""`syncd drill`."""

import asyncio
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from syncd.cli import check_exclusive
from syncd.cli.identity import open_identity
from syncd.cli.output import print_json, size_text
from syncd.cli.places import Place, opened, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config
from syncd.drill import Outcome, drill
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit
from syncd.errors import ConfigError
from syncd.heap import bound_heap
from syncd.log import Event
from syncd.model import format_time
from syncd.state import STATE_FILE, Job, note_job

_SYSTEM: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Place):
    """What the user asked for."""

    self_test: bool
    scratch: Path


def run_drill(request: Request, *, as_json: bool) -> None:
    """Drill on every target. Raises SyncdError, also the one that a drill failed with."""
    if request.self_test:
        check_exclusive(self_test=True, passphrase_file=request.passphrase_file)
    if not request.self_test and request.identity is None:
        raise ConfigError(
            "which drill?", hint="--identity kit.txt restores a position; --self-test needs no identity"
        )
    bound_heap()
    # Like an interrupt: what a drill made is removed.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    outcomes = asyncio.run(_drills(request))
    if as_json:
        print_json([_as_json(where, outcome) for where, outcome in outcomes])
    else:
        for where, outcome in outcomes:
            _print(where, outcome)
    for _, outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error


async def _drills(request: Request) -> list[tuple[str, Outcome]]:
    kit = request.kit()
    settings = request.settings()
    identity = None
    if not request.self_test:
        identity = await open_identity(request, kit)
    targets: Sequence[str | None] = [None] if settings is None else request.targets(settings)
    return [
        (target or "archive", await _drill(request, settings, kit, target, identity)) for target in targets
    ]


async def _drill(
    request: Request, settings: Config | None, kit: Kit | None, target: str | None, identity: Identity | None
) -> Outcome:
    verify_key = verify_key_of(settings, kit, request.verify_key)
    name = request.name or (kit.database if kit else "")
    if not name:
        raise ConfigError("which database?", hint="give its NAME")
    async with opened(request, settings, kit, target, helped=True) as store:
        outcome = await drill(
            store,
            database=name,
            verify_key=verify_key,
            identity=identity,
            clock=SystemClock(),
            log=_silent,
            scratch=request.scratch,
            rng=_SYSTEM,
        )
    if settings is not None:
        job = Job(f"drill {target}", SystemClock().now_ms(), outcome.error is None, outcome.summary)
        note_job(settings.state_of(name) / STATE_FILE, job)
    return outcome


def _silent(_event: Event, /, **_fields: object) -> None:
    """The outcome is printed; a log is the daemon's."""


def _as_json(where: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "target": where,
        "kind": outcome.kind,
        "passed": outcome.error is None,
        "error": "" if outcome.error is None else str(outcome.error),
        "generation": outcome.generation,
        "seq": outcome.seq,
        "captured_at": format_time(outcome.captured_ms) if outcome.seq is not None else None,
        "bytes": outcome.bytes,
        "duration_ms": outcome.duration_ms,
        "unchecked": list(outcome.unchecked),
        "left": outcome.left,
        "proven": list(outcome.proves) if outcome.error is None else [],
    }


def _print(where: str, outcome: Outcome) -> None:
    seconds = f"{outcome.duration_ms / 1000:.1f} s"
    if outcome.error is not None:
        typer.echo(f"{where}: the {outcome.kind} failed after {seconds}: {outcome.error.message}")
        return
    what = f"{size_text(outcome.bytes)} stored and restored"
    if outcome.kind == "restore":
        what = f"seq {outcome.seq} of {format_time(outcome.captured_ms)} restored, {size_text(outcome.bytes)}"
    typer.echo(f"{where}: the {outcome.kind} passed: {what}, {seconds}")
    for line in outcome.proves:
        typer.echo(f"  {line}")
    if outcome.unchecked:
        typer.echo(f"  not checked by SQLite without the application: {', '.join(outcome.unchecked)}")
    if outcome.left:
        typer.echo(f"  what the self-test stored could not be removed: {outcome.left}")
