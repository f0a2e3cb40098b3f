"""`syncd hold` and `syncd release`."""

import asyncio
from dataclasses import dataclass
from typing import Any

import typer

from syncd.cli import check_exclusive
from syncd.cli.output import print_json, print_table
from syncd.cli.places import Place, opened, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config
from syncd.config.secrets import secret_file, signing_key_place
from syncd.envelope.keys import SigningKey
from syncd.errors import ConfigError, IdentityError, ObjectNotFound
from syncd.format.marks import Mark, Range
from syncd.format.names import generation_bytes, hold_name
from syncd.format.wire import check_ms
from syncd.inventory import read_ends, read_inventory
from syncd.marks import new_mark_id, put_hold, read_marks
from syncd.model import format_time, parse_time
from syncd.policy.ranges import everything, moment, position
from syncd.store.base import Store
from syncd.store.iam import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Place):
    """What the user asked to keep."""

    until: str | None
    reason: str | None
    at: str | None
    seq: int | None


def run_hold(request: Request) -> None:
    """Put the same hold into every target, and print its id. Raises SyncdError."""
    check_exclusive(at=request.at, seq=request.seq)
    if request.until is None or not (request.reason or "").strip():
        raise ConfigError("a hold needs --until and --reason", hint="or --list what is held")
    until_ms = parse_until(request.until)
    at_ms = None if request.at is None else _time("--at", request.at)
    asyncio.run(_hold(request, until_ms, at_ms))


def run_holds(place: Place, *, as_json: bool) -> None:
    """Print every hold of every target. Raises SyncdError."""
    rows = asyncio.run(_holds(place))
    if as_json:
        print_json(rows)
        return
    print_table(
        f"holds of {place.name}",
        ("target", "id", "from", "until", "reason", "holds"),
        [(r["target"], r["id"], r["created"], r["until"], r["reason"], "\n".join(r["ranges"])) for r in rows],
    )


def run_release(place: Place, mark_id: str) -> None:
    """Take a hold away from every target. Raises SyncdError; ConfigError where none has it."""
    try:
        generation_bytes(mark_id)
    except ValueError as e:
        raise ConfigError(
            f"{mark_id!r} is no id of a hold", hint="`syncd hold NAME --list` tells them"
        ) from e
    if not asyncio.run(_release(place, mark_id)):
        raise ConfigError(f"there is no hold {mark_id}", hint="`syncd hold NAME --list` tells what there is")


def signing_key_of(settings: Config) -> SigningKey:
    """The daemon's key. Raises ConfigError."""
    path = secret_file(signing_key_place(settings.keys))
    try:
        return SigningKey.parse(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError, IdentityError) as e:
        raise ConfigError(
            f"keys.signing_key: {path} cannot be read", hint="a hold is signed: run it as the daemon's user"
        ) from e


def parse_until(text: str) -> int:
    """The end of a hold, in ms. Raises ConfigError unless it is to come."""
    until_ms = _time("--until", text)
    if until_ms <= SystemClock().now_ms():
        raise ConfigError(f"--until {text} is over", hint="give a date that is to come")
    return until_ms


def _time(option: str, text: str) -> int:
    try:
        ms = parse_time(text)
        check_ms(ms)
    except (ValueError, OverflowError) as e:
        raise ConfigError(
            f"{option} {text}: not a time", hint="write 2027-06-30 or 2027-06-30T12:00:00Z"
        ) from e
    return ms


async def _hold(request: Request, until_ms: int, at_ms: int | None) -> None:
    settings = _settings(request)
    key = signing_key_of(settings)
    clock = SystemClock()
    mark_id = new_mark_id(clock.now_ms())
    for target in request.targets(settings):
        async with opened(request, settings, None, target, Role.PRUNER) as store:
            ranges = await _ranges(store, request, key, at_ms)
            try:
                hold = await put_hold(
                    store,
                    clock,
                    key,
                    database=request.name or "",
                    until_ms=until_ms,
                    reason=(request.reason or "").strip(),
                    ranges=ranges,
                    mark_id=mark_id,
                )
            except ValueError as e:
                raise ConfigError(f"this cannot be a hold: {e}") from e
        typer.echo(f"{mark_id}  {target}: {'; '.join(_texts(hold))} until {format_time(until_ms)}")


async def _ranges(store: Store, request: Request, key: SigningKey, at_ms: int | None) -> list[Range]:
    database = request.name or ""
    inventory = await read_inventory(store, database=database, verify_key=key.verify_key)
    ends = await read_ends(store, inventory.bundles, database=database, verify_key=key.verify_key)
    if request.seq is not None:
        return position(inventory, request.seq, ends)
    if at_ms is not None:
        return moment(inventory, at_ms, ends)
    return everything(inventory, ends)


async def _holds(place: Place) -> list[dict[str, Any]]:
    settings = _settings(place)
    verify_key = verify_key_of(settings, place.kit())
    rows: list[dict[str, Any]] = []
    for target in place.targets(settings):
        async with opened(place, settings, None, target, Role.PRUNER) as store:
            marks = await read_marks(store, place.name or "", verify_key)
        rows += [
            {
                "target": target,
                "id": hold.mark_id,
                "created": format_time(hold.created_ms),
                "until": format_time(hold.until_ms),
                "reason": hold.reason,
                "ranges": _texts(hold),
            }
            for hold in marks.holds
        ]
        for damaged in marks.damaged:
            typer.echo(f"syncd: {target}: {damaged.error}", err=True)
    return rows


async def _release(place: Place, mark_id: str) -> int:
    settings = _settings(place)
    found = 0
    for target in place.targets(settings):
        async with opened(place, settings, None, target, Role.PRUNER) as store:
            try:
                await store.get(hold_name(mark_id))
            except ObjectNotFound:
                continue
            await store.delete(hold_name(mark_id))
        found += 1
        typer.echo(f"{target}: {mark_id} is released")
    return found


def _settings(place: Place) -> Config:
    settings = place.settings()
    if settings is None:
        raise ConfigError("which database?", hint="give its NAME in the configuration")
    return settings


def _texts(hold: Mark) -> list[str]:
    return [f"{r.generation} seq {r.first_seq} to {r.last_seq}" for r in hold.ranges]
