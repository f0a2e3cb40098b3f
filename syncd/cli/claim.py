"""`syncd claim`."""

import asyncio
import sys
from typing import Any, Final

import typer

from syncd.claims import read_claims
from syncd.cli.output import print_json, print_table
from syncd.cli.places import Place, opened, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config, find
from syncd.control import ask
from syncd.daemon import Daemon
from syncd.errors import ConfigError
from syncd.format.claim import Act, Claim
from syncd.log import configure
from syncd.model import format_time
from syncd.store.iam import Role

_QUESTION: Final = (
    "Other daemons that write {name} to {targets} are stopped for good, and this one begins a new generation."
    " Go on?"
)


def run_claims(place: Place, *, as_json: bool) -> None:
    """Print every claim of every target. Raises SyncdError."""
    settings = _settings(place)
    rows = asyncio.run(_claims(place, settings))
    if as_json:
        print_json(rows)
        return
    print_table(
        f"claims of {place.name}",
        ("target", "claim", "time", "what", "host", "generation"),
        [
            tuple(str(r[key]) for key in ("target", "claim", "time", "act", "host", "generation"))
            for r in rows
        ],
    )


def run_take_over(place: Place, *, yes: bool, as_json: bool) -> None:
    """Take one target over, or all: by the daemon, or ourselves where none runs. Raises SyncdError."""
    path = find(place.config)
    settings = _settings(place)
    name, targets = place.name or "", place.targets(settings)
    question = _QUESTION.format(name=name, targets=", ".join(targets))
    if not yes and not (sys.stdin.isatty() and typer.confirm(question)):
        raise ConfigError("nobody said yes to a take-over", hint="--yes says it, nothing was done")
    request: dict[str, object] = {"command": "claim", "database": name, "target": place.source}
    answer: Any = ask(settings.state_dir, request)
    if answer is None:
        configure("text", "warning", stream=sys.stderr)
        daemon = Daemon(settings, path=path, clock=SystemClock())
        answer = asyncio.run(daemon.take_over(name, place.source))
    if as_json:
        print_json(answer)
        return
    for each in answer:
        closed = ", ".join(each["closed"]) or "none"
        typer.echo(f"{each['target']}: claim {each['claim']}; generations that are closed: {closed}")
        for generation, why in each["left"].items():
            typer.echo(
                f"{each['target']}: the end of {generation} cannot be read, so it was not closed: make sure"
                f" that its daemon does not run ({why})"
            )


async def _claims(place: Place, settings: Config) -> list[dict[str, Any]]:
    verify_key = verify_key_of(settings, None)
    rows: list[dict[str, Any]] = []
    for target in place.targets(settings):
        async with opened(place, settings, None, target, Role.PRUNER) as store:
            found = await read_claims(store, database=place.name, verify_key=verify_key)
        for number, claim in found:
            row = {"target": target, "claim": number, "time": "", "act": "", "host": "", "generation": ""}
            if isinstance(claim, Claim):
                act = "took over" if claim.act is Act.TAKE_OVER else "began"
                row |= {"time": format_time(claim.time_ms), "act": act}
                row |= {"host": claim.host, "generation": claim.generation}
            else:
                row["act"] = f"cannot be used: {claim.message}"
            rows.append(row)
    return rows


def _settings(place: Place) -> Config:
    settings = place.settings()
    if settings is None:
        raise ConfigError("which database?", hint="give its NAME in the configuration")
    return settings
