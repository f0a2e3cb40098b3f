"""The scenario of the daemon as a whole: it goes on by itself, whatever fails."""

import asyncio
import io
from contextlib import suppress
from typing import Final

import pytest
from typing_extensions import override

from syncd import daemon
from syncd.clock import SystemClock
from syncd.config import Config, load
from syncd.daemon import Daemon
from syncd.log import configure
from tests.crashes.scenario import Scenario
from tests.crashes.verbs import nothing
from tests.crashes.world import World
from tests.e2e.support import digest_of
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.bench import NAME

_STEPS: Final = 2
_SECONDS: Final = 20.0
_LONGEST_SLEEP: Final = 0.005
_TEXT: Final = """
state_dir = "{directory}/syncd-state"
[batch]
max_delay = "50ms"
[capture]
poll_interval = "50ms"
[keys]
signing_key = "{directory}/signing.key"
recipients = ["{recipient}"]
[targets.main]
url = "file://{directory}/target"
[databases.chat]
path = "{directory}/chat.db"
"""


class QuickClock(SystemClock):
    """Nobody sleeps long."""

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, _LONGEST_SLEEP))


async def _configured(world: World) -> None:
    await nothing(world)
    key = world.directory / "signing.key"
    key.touch(0o600)
    key.write_text(SIGNING_KEY.to_text() + "\n")
    world.target.mkdir()
    world.place(state=f"syncd-state/{NAME}", target=f"target/{NAME}")


def _config(world: World) -> Config:
    assert world.fuse is not None
    with world.fuse.quietly():
        path = world.directory / "syncd.toml"
        path.write_text(_TEXT.format(directory=world.directory, recipient=IDENTITY.recipient.to_text()))
        return load(path)


async def _run(world: World) -> None:
    configure("json", "info", stream=io.StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "_REOPEN_SECONDS", 0.05)
        one = Daemon(_config(world), path=None, clock=QuickClock())
        running = asyncio.create_task(one.run())
        try:
            for _ in range(_STEPS):
                world.sql("INSERT INTO t (a) VALUES (randomblob(9000))")
                async with asyncio.timeout(_SECONDS):
                    await _stored(world, running)
            one.stop()
            await running
        finally:
            running.cancel()
            await asyncio.wait([running])
            with suppress(asyncio.CancelledError):
                running.exception()  # it was raised above, or this task was cancelled


async def _stored(world: World, running: asyncio.Task[None]) -> None:
    """Wait until the target has what the application has, or the daemon has ended."""
    assert world.fuse is not None
    with world.fuse.quietly():
        wanted, truth = digest_of(world.path), world.path.read_bytes()
    while not running.done():
        status = world.status()
        chain = status.chain if status else None
        if status and chain and chain.digest == wanted and status.targets[0].stored == chain.seq:
            world.truth[chain.seq] = truth
            return
        await asyncio.sleep(_LONGEST_SLEEP)
    await running
    raise AssertionError("the daemon ended")


SCENARIOS = (Scenario("daemon", _configured, _run, lasts=50),)
