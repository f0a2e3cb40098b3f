"""The stores that the contract is checked on, each with a way to look past it."""

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from typing_extensions import override

from syncd.store import MeteredStore, PrefixStore, Store
from syncd.store.directory import DirectoryStore
from syncd.store.memory import Held, MemoryStore
from syncd.store.s3 import S3Store
from tests.support.servers import BUCKET, S3Server

PAGE = 3  # small pages, so that every listing of the suite has several


class Backend(ABC):
    """One place for objects: `open` gives a client of it, `raw` and `plant` go past the store."""

    @abstractmethod
    def open(self) -> Store: ...

    @abstractmethod
    def raw(self) -> dict[str, bytes]:
        """Everything that is there under the store's prefix."""

    @abstractmethod
    def plant(self, name: str, data: bytes) -> None:
        """Put something there as a stranger would."""


class MemoryBackend(Backend):
    def __init__(self) -> None:
        self.held: dict[str, Held] = {}

    @override
    def open(self) -> Store:
        return MemoryStore(held=self.held)

    @override
    def raw(self) -> dict[str, bytes]:
        return {name: held.data for name, held in self.held.items()}

    @override
    def plant(self, name: str, data: bytes) -> None:
        self.held[name] = Held(data, 0)


class WrappedBackend(MemoryBackend):
    """The same contract through the wrappers."""

    @override
    def open(self) -> Store:
        return MeteredStore(PrefixStore(super().open(), "chat/db-1/"))

    @override
    def raw(self) -> dict[str, bytes]:
        return {name.removeprefix("chat/db-1/"): data for name, data in super().raw().items()}

    @override
    def plant(self, name: str, data: bytes) -> None:
        super().plant(f"chat/db-1/{name}", data)


class DirectoryBackend(Backend):
    def __init__(self, root: Path) -> None:
        self.root = root

    @override
    def open(self) -> Store:
        return DirectoryStore(self.root, batch=PAGE)

    @override
    def raw(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path in self.root.rglob("*"):
            # A cancelled put goes on in its thread: its temporary file may go while we look.
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[str(path.relative_to(self.root))] = path.read_bytes()
        return found

    @override
    def plant(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class S3Backend(Backend):
    def __init__(self, server: S3Server, client: Any, prefix: str) -> None:
        self.server = server
        self.client = client
        self.prefix = prefix

    @override
    def open(self) -> Store:
        return S3Store(BUCKET, self.prefix, endpoint_url=self.server.endpoint_url, page_size=PAGE)

    @override
    def raw(self) -> dict[str, bytes]:
        rows = self.client.list_objects_v2(Bucket=BUCKET, Prefix=self.prefix).get("Contents", ())
        found = {}
        for key in (row["Key"] for row in rows):
            body = self.client.get_object(Bucket=BUCKET, Key=key)["Body"]
            found[key.removeprefix(self.prefix)] = body.read()
            body.close()
        return found

    @override
    def plant(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=self.prefix + name, Body=data)
