"""The four kinds of store, and one wrapped."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from syncd.store import Store
from tests.store.backends import Backend, DirectoryBackend, MemoryBackend, S3Backend, WrappedBackend
from tests.support.servers import S3Server


@pytest.fixture
def s3_prefix() -> str:
    """A place in the shared bucket that no other test uses."""
    return f"t-{secrets.token_hex(6)}/x/"


@pytest.fixture(scope="session")
def seaweedfs_client(seaweedfs: S3Server) -> Iterator[Any]:
    with closing(seaweedfs.client()) as client:
        yield client


@pytest.fixture(scope="session")
def ministack_client(ministack: S3Server) -> Iterator[Any]:
    with closing(ministack.client()) as client:
        yield client


@pytest.fixture(params=["memory", "wrapped", "directory", "seaweedfs", "ministack"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, s3_prefix: str) -> Backend:
    match request.param:
        case "memory":
            return MemoryBackend()
        case "wrapped":
            return WrappedBackend()
        case "directory":
            return DirectoryBackend(tmp_path / "store")
        case kind:
            request.getfixturevalue("s3_environment")
            server = request.getfixturevalue(kind)
            return S3Backend(server, request.getfixturevalue(f"{kind}_client"), s3_prefix)


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    opened = backend.open()
    yield opened
    await opened.close()
