"""Two daemons with one archive: the state directory was copied to a second host.

When the second host is gone, somebody says so, as the hint asks: `syncd claim --take-over`.
"""

import contextlib
import dataclasses
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from syncd.log import Event
from tests.campaigns.rig import Daemon
from tests.support.oracle import fold
from tests.torture.faults import Fault

if TYPE_CHECKING:
    from tests.torture.world import World

_TOLD: Final = frozenset({Event.TARGET_CONFLICTED, Event.TARGET_SHARED})
_BOTH_SECONDS: Final = 5.0


class Copied(Fault):
    """State, configuration and database are copied; both daemons run, and both applications write."""

    seconds = (15.0, 25.0)
    anew = True

    @override
    def begin(self, world: "World") -> None:
        world.application.ask("pause")
        world.kill()
        self._since = len(world.lines)
        self._host = world.directory / f"host{self.rng.getrandbits(16):x}"
        self._host.mkdir()
        database = fold(world.database, self._host)
        state = self._host / "syncd-state"
        shutil.copytree(world.state_dir, state, ignore=shutil.ignore_patterns("*.sock"))
        state.chmod(0o700)
        text = world.rig.config.read_text()
        text = text.replace(f'"{world.state_dir}"', f'"{state}"')
        text = text.replace(f'path = "{world.database}"', f'path = "{database}"')
        config = self._host / "syncd.toml"
        config.write_text(text)
        with closing(sqlite3.connect(database, isolation_level=None)) as conn:
            conn.execute("UPDATE total SET sum = sum + 1")  # no state of the first host's application
        world.start()
        world.application.write("single")
        self._daemon = Daemon(
            dataclasses.replace(world.rig, directory=self._host, database=database, config=config)
        )
        self._daemon.__enter__()

    @override
    def end(self, world: "World") -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._host)
            self._daemon.kill()
            errors = (self._host / "daemon.err").read_text()
            if errors:
                world.record.blame(f"the second daemon wrote to stderr: {errors[-2000:]}")
            lines = [*self._daemon.lines, *world.lines[self._since :]]
            told = any(line.get("event") in _TOLD for line in lines)
            if (
                not told
                and self._daemon.of(Event.DELTAS_STORED)
                and world.watch.still_seconds < _BOTH_SECONDS
            ):
                world.record.blame("two daemons wrote to one archive, and neither said so")
        taken = world.rig.run("claim", "chat", "--take-over", "--yes", "--config", str(world.rig.config))
        if taken.returncode:
            world.record.blame(f"syncd claim --take-over: {taken.stderr}")
