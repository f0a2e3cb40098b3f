"""One application, one daemon, one archive, and what happens to them.

- The daemon is supervised as systemd does: where a fault lets it end, it is started again a second later.
- The state directory is a small file system of its own where this process may mount one.
- The harness waits only in `pass_time` and `until`, and looks at everything meanwhile.
"""

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from tests.campaigns.rig import Daemon, Depot, Rig
from tests.torture.application import Application
from tests.torture.invariants import Watch
from tests.torture.mounts import Mount
from tests.torture.preload import Layer
from tests.torture.profiles import Profile
from tests.torture.proxy import ProxyProcess
from tests.torture.records import Record

_STEP: Final = 0.4
_STATE_BYTES: Final = 4 << 30
_SCHEDULES: Final = {"snapshot": "1m", "retention": "2m", "drill": "3m", "check": "2m"}


class World:
    """See the module. `directory` is empty and belongs to it."""

    def __init__(
        self,
        directory: Path,
        depot: Depot,
        proxy: ProxyProcess | None,
        profile: Profile,
        rng: Random,
        record: Record,
    ) -> None:
        self.directory = directory
        self.profile = profile
        self.rng = rng
        self.record = record
        application = directory / "application"
        application.mkdir()
        self.database = application / "chat.db"
        self.application = Application(
            self.database,
            directory / "journal",
            mode=profile.mode,
            bulk_bytes=profile.bulk_bytes,
            seed=rng.getrandbits(32),
        )
        self.proxy = proxy
        self.direct = Rig.make(directory, self.database, depot, max_delay="500ms", drain="10s")
        self.rig = dataclasses.replace(self.direct, endpoint_url=proxy.url if proxy else "")
        self._configure()
        self.state_dir = directory / "syncd-state"
        self.layer = Layer.build(directory)
        self.daemon: Daemon | None = None
        self.lines: list[dict[str, object]] = []
        self.watch = Watch(self)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """The application writes, the daemon runs; in the end both are gone."""
        self.state_dir.mkdir(mode=0o700)
        with contextlib.ExitStack() as stack:
            self.mount = stack.enter_context(Mount.over(self.state_dir, _STATE_BYTES))
            stack.enter_context(self.application)
            stack.callback(self.kill)
            self.start()
            yield

    def start(self) -> None:
        """Start the daemon."""
        environ = self.layer.environ if self.layer else {}
        self.daemon = Daemon(self.rig, environ=dict(environ)).__enter__()

    def kill(self) -> None:
        """SIGKILL the daemon, if it lives."""
        daemon, self.daemon = self.daemon, None
        if daemon is not None:
            daemon.kill()
            self.watch.hear(daemon)

    def stop(self) -> int:
        """SIGTERM; the exit code, -1 where it does not end in time."""
        daemon, self.daemon = self.daemon, None
        assert daemon is not None
        try:
            code = daemon.stop(30.0)
        except subprocess.TimeoutExpired:
            code = -1
            daemon.kill()
        self.watch.hear(daemon)
        return code

    def pass_time(self, seconds: float) -> None:
        """Wait, and look."""
        self.until(lambda: False, seconds)

    def until(self, done: Callable[[], bool], seconds: float) -> float | None:
        """Look until `done`; after how many seconds it was, None where not in time."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            self.watch.look()
            if done():
                return time.monotonic() - started
            time.sleep(_STEP)
        return None

    def _configure(self) -> None:
        """The proxy's address, jobs as often as may be, and an outbox that can fill."""
        text = self.direct.config.read_text()
        if self.direct.endpoint_url:
            text = text.replace(self.direct.endpoint_url, self.rig.endpoint_url)
        for section, schedule in _SCHEDULES.items():
            text = text.replace(f"\n[{section}]\n", f'\n[{section}]\nschedule = "{schedule}"\n', 1)
        identity = f'identity = "{self.rig.kit}"\npassphrase_file = "{self.rig.passphrase_file}"\n'
        text = text.replace("\n[drill]\n", f"\n[drill]\n{identity}", 1)
        text = text.replace("\n[outbox]\n", f'\n[outbox]\nmax_bytes = "{self.profile.outbox}"\n', 1)
        self.rig.config.write_text(text)
        self.rig.passphrase_file.chmod(0o600)
        self.rig.kit.chmod(0o600)
