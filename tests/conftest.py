"""Servers that several suites share, started when the first test asks for them."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import servers

# The same examples every time; with HYPOTHESIS_PROFILE=default, new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure() -> None:
    """Where no loop was ever set, looptime's hook makes one before a sync test, and nobody closes it."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[servers.S3Server]:
    with servers.seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def ministack() -> Iterator[servers.S3Server]:
    with servers.ministack() as server:
        yield server


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process uses the test servers' key and finds no other configuration of AWS's."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in servers.s3_environ().items():
        monkeypatch.setenv(name, value)
