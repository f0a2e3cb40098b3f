"""`syncd doctor`."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Final

import typer

from syncd.cli.output import print_json, print_table
from syncd.cli.places import database_in
from syncd.clock import SystemClock
from syncd.config import Config, find, load
from syncd.doctor import Finding, Level, look_at_database, look_at_host, look_at_target

_CODES: Final = {Level.OK: 0, Level.WARNING: 3, Level.FAILURE: 1}


def run_doctor(config: Path | None, name: str | None, *, as_json: bool) -> None:
    """Look at everything around the backup, and exit by the worst. Raises ConfigError."""
    path = find(config)
    settings = load(path)
    if name is not None:
        database_in(settings, name)
    found = asyncio.run(_look(settings, path, name))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        rows = [(each.level.value, each.subject, each.what, each.advice) for each in found]
        print_table("syncd doctor", ("", "what", "found", "what to do"), rows)
    code = exit_code(found)
    if code:
        raise typer.Exit(code)


def exit_code(found: list[Finding]) -> int:
    """0 where all is well, 3 where something deserves attention, 1 where something must be mended."""
    levels = {each.level for each in found}
    worst = max(levels, key=list(Level).index, default=Level.OK)
    return _CODES[worst]


async def _look(settings: Config, path: Path, name: str | None) -> list[Finding]:
    clock = SystemClock()
    names = list(settings.databases) if name is None else [name]
    found = await asyncio.to_thread(look_at_host, settings, path)
    for each in names:
        found += await asyncio.to_thread(look_at_database, settings, each, clock.now_ms())
    for target in settings.targets:
        kept = [each for each in names if target in settings.targets_of(each)]
        if kept:
            found += await look_at_target(settings, target, kept[0], clock)
    return found
