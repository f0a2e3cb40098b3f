"""A chat that is kept in a bucket, behind a proxy that misbehaves; and what the user sees meanwhile."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.application import Application
from tests.e2e.process import Daemon, Zygote, poll, running, succeeded
from tests.e2e.support import Site
from tests.support.servers import BUCKET, S3Server, s3_environ
from tests.torture.proxy import ProxyProcess, proxied

TOLD_WITHIN = 20.0  # seconds; 10 where nothing else runs, while a request may take 60


@dataclass(slots=True)
class Faulty:
    """One application, its only target `s3`, and the proxy before it."""

    application: Application
    proxy: ProxyProcess
    server: S3Server
    quick: Zygote
    url: str
    env: dict[str, str] = field(default_factory=s3_environ)

    @property
    def site(self) -> Site:
        return self.application.site

    def status(self) -> dict[str, Any]:
        """What `syncd status` says of the database."""
        return status_of(self.site, self.quick)

    def target(self) -> dict[str, Any]:
        """And of the target."""
        found: dict[str, Any] = self.status()["targets"]["s3"]
        return found

    def restored(self) -> bytes:
        """The newest position, restored past the proxy."""
        to = self.application.scratch / "restored.db"
        to.unlink(missing_ok=True)
        places = ("--archive", self.url, "--endpoint-url", self.server.endpoint_url, "--to", to)
        succeeded(self.quick("restore", *places, *self.site.kit_options, env=self.env))
        return to.read_bytes()

    @contextmanager
    def running(self, env: Mapping[str, str] | None = None) -> Iterator[Daemon]:
        with running(self.site.config, env=self.env | dict(env or {})) as daemon:
            yield daemon

    def assert_whole(self) -> None:
        """Everything that was posted is stored, and can be restored."""
        truth = self.application.truth()
        self.site.wait_stored(truth)
        assert self.restored() == truth.read_bytes()


@contextmanager
def faulty(application: Application, server: S3Server, quick: Zygote, **settings: object) -> Iterator[Faulty]:
    """The application's site, moved into a bucket behind a proxy with these settings."""
    url = f"s3://{BUCKET}/faults-{secrets.token_hex(6)}"
    with proxied(server.port) as proxy:
        proxy.set(**settings)
        site = application.site
        site.targets = {"s3": f'url = "{url}"\nendpoint_url = "{proxy.url}"'}
        site.configure()
        yield Faulty(application, proxy, server, quick, f"{url}/chat", s3_environ())


def status_of(site: Site, quick: Zygote, name: str = "chat") -> dict[str, Any]:
    """What `syncd status` says of a database."""
    report = json.loads(succeeded(quick("status", "--json", "--config", site.config)).out)
    found: dict[str, Any] = report["databases"][name]
    return found


class Stopwatch:
    """How long ago it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def assert_within(self, seconds: float, what: str) -> None:
        assert self.seconds <= seconds, f"{what} took {self.seconds:.1f} s, not {seconds:.0f}"


def told(daemon: Daemon, event: str, *words: str, count: int = 1) -> dict[str, Any]:
    """The line of the log with all these words; the `count`th."""

    def found() -> list[dict[str, Any]]:
        lines = [line for line in daemon.events() if line["event"] == event]
        return [line for line in lines if all(word in json.dumps(line) for word in words)][count - 1 :]

    return poll(found, f"{event} with {words} was logged: {daemon.errors.read_text()}")[0]
