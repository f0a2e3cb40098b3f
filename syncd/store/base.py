"""What syncd needs from an object store, and nothing more.

- Names are relative, ASCII, `/`-separated and never contain `..`; the store adds its own prefix.
- Objects are immutable: `put` creates, nothing overwrites.
- Every call may be repeated after `StoreUnavailable`. A `put` whose answer was lost may then raise
  `ObjectExists` for the caller's own object: callers read back and compare.
- Calls may run concurrently. Cancelling a call leaves either no object or the whole object.
- Objects are at most a few MiB (packs and deltas are bounded), so they travel as bytes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A row of a listing: name (relative to the store), size in bytes, time of creation in ms."""

    name: str
    size: int
    modified_ms: int


class Store(Protocol):
    """One prefix of one object store. Raises only StoreError and its subclasses."""

    @property
    def url(self) -> str:
        """The target as configured, without credentials; for messages."""
        ...

    async def put(self, name: str, data: bytes) -> None:
        """Create the object durably. Raises ObjectExists where the name was created before."""
        ...

    async def get(self, name: str) -> bytes:
        """The whole object, checked against the store's own checksum where it has one.

        Raises ObjectNotFound.
        """
        ...

    def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        """Objects whose names start with `prefix` and are greater than `after`, in bytewise order."""
        ...

    async def dirs(self, prefix: str) -> list[str]:
        """The distinct next path segments below `prefix` (which ends in `/` or is empty), sorted."""
        ...

    async def delete(self, name: str) -> None:
        """Remove the object; a name that is not there is not an error."""
        ...

    async def close(self) -> None:
        """Let go of sockets; the store is not used again."""
        ...
