"""The scenarios of what the command line writes: init, and a change of the recipients."""

import asyncio
import io
from pathlib import Path

from rich.console import Console

from syncd.cli.init import init
from syncd.config import edit, load
from syncd.envelope.identity import Argon2Params
from syncd.envelope.keys import SigningKey
from syncd.envelope.kit import parse_kit
from syncd.errors import SyncdError
from tests.crashes.points import DEATHS, End
from tests.crashes.scenario import Scenario
from tests.crashes.verbs import nothing
from tests.crashes.world import World
from tests.support.fakes import IDENTITY

_CHEAP = Argon2Params(memory_kib=64, iterations=1, lanes=1)
_NAMES = ("kit.txt", "signing.key", "syncd.toml")


async def _unwritten(world: World) -> None:
    await nothing(world)
    passphrase = world.out / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery staple\n")
    (world.out / "passphrase").chmod(0o600)


def _write(world: World, directory: Path) -> None:
    init(
        directory / "syncd.toml",
        name="chat",
        database=world.path,
        target=world.target.as_uri(),
        kit=directory / "kit.txt",
        passphrase_file=world.out / "passphrase",
        console=Console(file=io.StringIO()),
        clock=world.clock,
        params=_CHEAP,
    )


async def _init(world: World) -> None:
    await asyncio.to_thread(_write, world, world.out)


async def _after_init(_world: World, left: World, end: End) -> list[str]:
    """A configuration that can be used has its key and its kit. After a failure there is none of them."""
    there = [name for name in _NAMES if (left.out / name).exists()]
    if end not in DEATHS:
        return [] if len(there) in {0, len(_NAMES)} else [f"only {there} were left"]
    try:
        load(left.out / "syncd.toml")
    except SyncdError:
        return []
    SigningKey.parse((left.out / "signing.key").read_text())
    parse_kit((left.out / "kit.txt").read_text())
    return []


async def _written(world: World) -> None:
    await _unwritten(world)
    _write(world, world.out)


def _added(path: Path) -> str:
    recipients = (*load(path).keys.recipients, IDENTITY.recipient.to_text())
    return edit.with_recipients(path.read_text(), recipients)


def _add(world: World) -> None:
    path = world.out / "syncd.toml"
    edit.replace(path, _added(path))


async def _change(world: World) -> None:
    await asyncio.to_thread(_add, world)


async def _after_change(world: World, left: World, _end: End) -> list[str]:
    """The old file or the new one, never anything else."""
    old = world.before / "out" / "syncd.toml"
    now = (left.out / "syncd.toml").read_text()
    wrong = [] if now in {old.read_text(), _added(old)} else ["it is neither the old nor the new one"]
    _add(left)
    return wrong


SCENARIOS = (
    Scenario("init", _unwritten, _init, _after_init, plain=True),
    Scenario("change of recipients", _written, _change, _after_change, plain=True),
)
