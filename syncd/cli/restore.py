"""`syncd restore`."""

import asyncio
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from syncd.cli import check_exclusive
from syncd.cli.identity import open_identity
from syncd.cli.output import print_json
from syncd.cli.places import Place, opened, plan_of, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config
from syncd.config.units import parse_duration
from syncd.destination import copy_shadow
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit
from syncd.errors import ArchiveError, ConfigError, IdentityError, NoRestorePoint, StateError, StoreError
from syncd.format.head import Head
from syncd.format.wire import check_ms
from syncd.heads import Heads
from syncd.heap import bound_heap
from syncd.model import format_time, parse_time
from syncd.restore import Restore, Restored
from syncd.state import SHADOW_FILE, STATE_FILE, read_status

_SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Place):
    """What the user asked for."""

    to: Path
    at: str | None
    seq: int | None
    generation: str | None
    force: bool
    expect_head: str | None = None
    newest_within: str | None = None


class Bar:
    """A progress bar on stderr: bytes, rate, time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, total_bytes: int) -> None:
        """See restore.Progress."""
        self._task = self._progress.add_task("restoring", total=total_bytes)

    def advance(self, fetched_bytes: int) -> None:
        """See restore.Progress."""
        if self._task is not None:
            self._progress.advance(self._task, fetched_bytes)


def run_restore(request: Request, *, as_json: bool) -> None:
    """Restore, and say what came out. Raises SyncdError."""
    check_exclusive(at=request.at, seq=request.seq)
    bound_heap(large_bytes=1 << 20, spare_bytes=4 << 20)
    # Like an interrupt: what is half-written goes.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    started = time.monotonic()
    at_ms = _parse_at(request.at)
    if request.expect_head is not None:
        _parse_head(request.expect_head)
    restored = (
        _from_shadow(request) if request.source == _SHADOW else asyncio.run(_from_archive(request, at_ms))
    )
    seconds = time.monotonic() - started
    if restored.gap:
        typer.echo(
            f"syncd: deltas {restored.gap[0]} to {restored.gap[1]}, behind this position, are not kept:"
            " retention removed them, or they are lost (`syncd verify` tells)",
            err=True,
        )
    if as_json:
        print_json(
            {
                "to": str(request.to),
                "generation": restored.generation,
                "seq": restored.seq,
                "captured_at": format_time(restored.captured_ms),
                "bytes": restored.bytes,
                "deltas": restored.deltas,
                "gap": restored.gap,
                "seconds": round(seconds, 3),
            }
        )
    else:
        typer.echo(
            f"restored {request.to}: seq {restored.seq} of {format_time(restored.captured_ms)},"
            f" {restored.bytes:,} bytes, {restored.deltas} deltas, {seconds:.1f} s, digest checked"
        )


def _parse_at(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at_ms = parse_time(text)
        check_ms(at_ms)
    except ValueError as e:
        raise ConfigError(f"--at {text}: not a time", hint="write it as 2026-11-23T10:00:00Z") from e
    return at_ms


def _parse_head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError as e:
        raise ConfigError(
            f"--expect-head: {e}",
            hint="`syncd log` prints heads, `syncd status --json` too; keep one elsewhere",
        ) from e


def _parse_age(text: str) -> int:
    try:
        return round(parse_duration(text) * 1000)
    except ValueError as e:
        raise ConfigError(f"--newest-within {text}: {e}", hint="write it as 90m or 2d") from e


def _from_shadow(request: Request) -> Restored:
    """Copy what lies on this host: no network, no key."""
    for option, value in (
        ("--at", request.at),
        ("--seq", request.seq),
        ("--archive", request.archive),
        ("--expect-head", request.expect_head),
        ("--newest-within", request.newest_within),
    ):
        if value is not None:
            raise ConfigError(
                f"{option} does not go with --from shadow", hint="the shadow is the newest state"
            )
    settings = Place(
        name=request.name,
        source=None,
        archive=None,
        endpoint_url="",
        identity=None,
        config=request.config,
    ).settings()
    if settings is None or request.name is None:
        raise ConfigError("which database?", hint="give its NAME")
    directory = settings.state_of(request.name)
    chain = read_status(directory / STATE_FILE).chain
    if chain is None:
        raise NoRestorePoint(f"{request.name} has no shadow yet", hint="start `syncd run` first")
    if not chain.boundary:
        raise StateError(
            "the shadow is in the middle of a large transaction",
            hint="try again in a moment, or --from a target",
        )
    copy_shadow(
        directory / SHADOW_FILE,
        request.to,
        size=chain.page_count * chain.page_size,
        expected=chain.digest,
        page_size=chain.page_size,
        force=request.force,
    )
    return Restored(chain.generation, chain.seq, chain.captured_ms, chain.page_count * chain.page_size, 0)


async def _from_archive(request: Request, at_ms: int | None) -> Restored:
    kit = request.kit()
    if request.identity is None:
        raise IdentityError(
            "restoring needs the recovery kit",
            hint="--identity kit.txt, or --from shadow on the daemon's host",
        )
    settings = request.settings()
    identity = await open_identity(request, kit)
    if settings is None:
        return await _from_one(request, None, kit, identity, None, at_ms)
    targets = request.targets(settings)
    for target in targets[:-1]:
        try:
            return await _from_one(request, settings, kit, identity, target, at_ms)
        except (StoreError, NoRestorePoint, ArchiveError) as e:
            typer.echo(f"syncd: {target}: {e}; trying the next target", err=True)
    return await _from_one(request, settings, kit, identity, targets[-1], at_ms)


async def _from_one(
    request: Request,
    settings: Config | None,
    kit: Kit | None,
    identity: Identity,
    target: str | None,
    at_ms: int | None,
) -> Restored:
    verify_key = verify_key_of(settings, kit, request.verify_key)
    async with opened(request, settings, kit, target, helped=True) as store:
        heads = Heads(store, database=request.name, verify_key=verify_key)
        if request.expect_head is not None:
            await heads.check(_parse_head(request.expect_head))
        if request.newest_within is not None:
            await heads.check_age(SystemClock().now_ms(), _parse_age(request.newest_within))
        plan = await plan_of(
            store,
            request.name,
            kit,
            verify_key,
            at_ms=at_ms,
            seq=request.seq,
            generation=request.generation,
        )
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        ) as progress:
            restore = Restore(
                store,
                identity=identity,
                verify_key=verify_key,
                database=request.name,
                progress=Bar(progress),
            )
            return await restore.run(plan, request.to, force=request.force)
