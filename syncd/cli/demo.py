"""`syncd demo`: a chat, a backup, a kill and a restore, with real processes and a real comparison.

- The chat application and the daemon are processes of their own; the daemon is killed half way with
  SIGKILL and started again.
- The truth is made by plain SQLite: a copy of the database and its log, folded by a checkpoint.
- Everything lives in one temporary directory, which is gone afterwards, whatever happens.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from syncd.cli.init import init
from syncd.cli.output import size_text
from syncd.errors import SyncdError
from syncd.log import Event

_NAME: Final = "chat"
_PATIENCE: Final = 60.0


@dataclass(slots=True)
class Tally:
    """What the daemon's log and the application said."""

    messages: int = 0
    changed_rows: int = 0
    deltas: int = 0
    pages: int = 0
    uploaded: int = 0
    starts: int = 0
    step: str = ""
    lags_ms: list[int] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def note_log(self, line: dict[str, Any]) -> None:
        """Count an event of the daemon."""
        match line.get("event"):
            case Event.DELTA_SEALED:
                self.deltas += 1
                self.pages += line["pages"]
            case Event.DELTAS_STORED:
                self.uploaded += line["bytes"]
                self.lags_ms.append(line["lag_ms"])
            case Event.SNAPSHOT_STORED:
                self.uploaded += line["bytes"]
            case Event.DAEMON_STARTED:
                self.starts += 1
            case _:
                pass

    def note_application(self, line: dict[str, Any]) -> None:
        """Take over the application's own count."""
        self.messages = line["messages"]
        self.changed_rows = line["changed_rows"]
        if line.get("done"):
            self.done.set()


def run_demo(*, seconds: float, rate: float) -> bool:
    """Run the demonstration. True where the restored database is identical and sound."""
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="syncd-demo-"))
    try:
        return asyncio.run(_demo(directory, seconds, rate, console))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _demo(directory: Path, seconds: float, rate: float, console: Console) -> bool:
    database = directory / "chat.db"
    config, kit, passphrase = await asyncio.to_thread(_set_up, directory, database)
    tally = Tally()
    with Live(get_renderable=lambda: _progress(tally, seconds), console=console, transient=True) as live:
        async with _application(database, rate, tally) as application:
            half = time.monotonic() + seconds / 2
            tally.step = "the daemon follows the chat"
            async with _daemon(config, tally) as daemon:
                await _show(half, live)
                daemon.send_signal(signal.SIGKILL)
                await daemon.wait()
            tally.step = "the daemon was killed (SIGKILL) and started again"
            async with _daemon(config, tally) as daemon:
                await _show(half + seconds / 2, live)
                await _end_writing(application, tally)
                tally.step = "the chat stops; the daemon drains"
                daemon.send_signal(signal.SIGTERM)
                await asyncio.wait_for(daemon.wait(), _PATIENCE)
            tally.step = "restoring into a new file"
            restored = directory / "restored.db"
            started = time.monotonic()
            await _restore(directory, kit, passphrase, restored)
            restore_seconds = time.monotonic() - started
            identical, sound = await asyncio.to_thread(_compare, database, restored, directory / "fold")
    _report(console, tally, restore_seconds, identical=identical, sound=sound)
    return identical and sound


def _set_up(directory: Path, database: Path) -> tuple[Path, Path, Path]:
    """What `syncd init` writes, with a shorter batch. Returns configuration, kit, passphrase file."""
    config, kit, passphrase = directory / "syncd.toml", directory / "kit.txt", directory / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(secrets.token_urlsafe(24) + "\n")
    target = directory / "backup"
    target.mkdir()
    with (directory / "init.txt").open("w") as out:
        init(
            config,
            name=_NAME,
            database=database,
            target=target.as_uri(),
            kit=kit,
            passphrase_file=passphrase,
            console=Console(file=out),
        )
    text = config.read_text()
    config.write_text(text + f'\n[databases.{_NAME}.batch]\nmax_delay = "1s"\n')
    return config, kit, passphrase


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[Process]:
    """A child that does not outlive us: ended by its pid."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdin=PIPE, stdout=PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _application(database: Path, rate: float, tally: Tally) -> AsyncIterator[Process]:
    arguments = ("syncd.cli.chatapp", str(database), "--rate", str(rate), "--seconds", "0", "--control")
    async with _process(*arguments) as process:
        reading = asyncio.create_task(_read(process, tally.note_application))
        try:
            yield process
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


@asynccontextmanager
async def _daemon(config: Path, tally: Tally) -> AsyncIterator[Process]:
    async with _process("syncd.cli", "run", "--config", str(config)) as process:
        reading = asyncio.create_task(_read(process, tally.note_log))
        try:
            yield process
            await asyncio.wait_for(reading, _PATIENCE)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


async def _read(process: Process, note: Any) -> None:
    if process.stdout is None:
        return
    async for raw in process.stdout:
        with contextlib.suppress(ValueError):
            note(json.loads(raw))


async def _show(until: float, live: Live) -> None:
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(0.1, left))
        live.refresh()


async def _end_writing(application: Process, tally: Tally) -> None:
    """The application stops writing and keeps its database open."""
    if application.stdin is None:
        return
    application.stdin.write(b"stop\n")
    await application.stdin.drain()
    await asyncio.wait_for(tally.done.wait(), _PATIENCE)


async def _restore(directory: Path, kit: Path, passphrase: Path, to: Path) -> None:
    """As a stranger would: from the bare archive, with nothing but the kit."""
    archive = (directory / "backup").as_uri()
    arguments = ("--archive", archive, "--identity", str(kit), "--passphrase-file", str(passphrase))
    async with _process("syncd.cli", "restore", *arguments, "--to", str(to)) as process:
        await process.communicate()
        if process.returncode:
            raise SyncdError(f"the restore ended with exit code {process.returncode}")


def _compare(database: Path, restored: Path, folded: Path) -> tuple[bool, bool]:
    """Byte for byte against the truth that plain SQLite makes, and integrity_check."""
    shutil.copyfile(database, folded)
    shutil.copyfile(f"{database}-wal", f"{folded}-wal")
    connection = sqlite3.connect(folded)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    identical = folded.read_bytes() == restored.read_bytes()
    # Looking into a database may write to it: look into the copy that was compared.
    shutil.copyfile(restored, folded)
    connection = sqlite3.connect(folded)
    sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return identical, sound


def _progress(tally: Tally, seconds: float) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(
        tally.step,
        f"{tally.messages} messages",
        f"{tally.deltas} deltas",
        f"{size_text(tally.uploaded)} uploaded",
        f"{seconds:.0f} s in all",
    )
    return table


def _report(console: Console, tally: Tally, restore_seconds: float, *, identical: bool, sound: bool) -> None:
    lags = [lag / 1000 for lag in sorted(tally.lags_ms) or [0]]
    table = Table(title="syncd demo", title_justify="left", show_header=False, show_edge=False)
    rows = {
        "messages": f"{tally.messages:,}",
        "changed rows": f"{tally.changed_rows:,}",
        "pages": f"{tally.pages:,}",
        "deltas": f"{tally.deltas:,}",
        "bytes uploaded per message": f"{tally.uploaded / max(1, tally.messages):.0f}",
        "lag from commit to stored": f"median {statistics.median(lags):.2f} s, max {lags[-1]:.2f} s",
        "daemon killed and restarted": f"{tally.starts - 1} time",
        "restore time": f"{restore_seconds:.2f} s",
        "identical": "yes" if identical else "NO",
        "integrity_check": "ok" if sound else "FAILED",
    }
    for label, value in rows.items():
        table.add_row(label, value)
    console.print(table)
