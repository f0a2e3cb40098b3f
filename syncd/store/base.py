"""What syncd needs from an object store, and nothing more.

- Names are relative, ASCII, `/`-separated; `check_name` is the rule. The store adds its own prefix.
- A name is never also the directory of another name: a file system cannot have both.
- Objects are immutable: `put` creates, nothing overwrites.
- Every call may be repeated after `StoreUnavailable`. Putting the very bytes that are stored under
  that name already succeeds, so that a `put` whose answer was lost can simply be repeated.
- Calls may run concurrently. Cancelling a call leaves either no object or the whole object, and
  that object may appear a moment later.
- Objects are at most a few MiB (packs and deltas are bounded), so they travel as bytes.
- What lies in the store under a name that is not one of ours is not listed.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

_SEGMENT: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,200}")
MAX_NAME: Final = 700  # S3 allows keys of 1024 bytes; the target's own prefix needs room too


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A row of a listing: name (relative to the store), size in bytes, time of creation in ms."""

    name: str
    size: int
    modified_ms: int


class Store(Protocol):
    """One prefix of one object store. Raises only StoreError and its subclasses.

    A name or prefix that breaks the rules is a defect of the caller: ValueError.
    """

    @property
    def url(self) -> str:
        """The target as configured, without credentials; for messages."""
        ...

    async def put(self, name: str, data: bytes) -> None:
        """Create the object durably. Raises ObjectExists where the name holds other bytes.

        Raises ObjectUnread where the name exists and the store lets us not see what it holds.
        """
        ...

    async def get(self, name: str) -> bytes:
        """The whole object, checked against the store's own checksum where it has one.

        Raises ObjectNotFound.
        """
        ...

    def objects(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        """Objects whose names start with `prefix` and are greater than `after`, in bytewise order.

        `after` is empty or the name of an object, gone or not; never that of a directory without
        its slash, since SeaweedFS would leave out what lies in it. An async generator: requests are
        sent while it is consumed. An object created or deleted meanwhile may or may not be listed.
        """
        ...

    async def dirs(self, prefix: str) -> list[str]:
        """The distinct next path segments below `prefix` (which ends in `/` or is empty), sorted.

        Only segments that something lies below, not objects. Some servers go on naming one for a
        while after its last object was deleted.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove the object; a name that is not there is not an error."""
        ...

    async def close(self) -> None:
        """Let go of sockets; the store is not used again."""
        ...


def is_segment(text: str) -> bool:
    """Whether `text` can stand between two slashes of a name."""
    return _SEGMENT.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether `text` can name an object: segments of letters, digits, `.`, `_`, `-`, joined by `/`."""
    return len(text) <= MAX_NAME and all(map(is_segment, text.split("/")))


def check_name(name: str) -> None:
    """Raises ValueError unless `name` can name an object."""
    if not is_name(name):
        raise ValueError(f"not an object name: {name!r}")


def check_prefix(prefix: str) -> None:
    """Raises ValueError unless some object name can start with `prefix`."""
    if prefix and not is_name(f"{prefix}x" if prefix[-1] in "/." else prefix):
        raise ValueError(f"not the start of an object name: {prefix!r}")


def check_directory(prefix: str) -> None:
    """Raises ValueError unless `prefix` is empty or a directory's name with its slash."""
    check_prefix(prefix)
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"not a directory's name with its slash: {prefix!r}")
