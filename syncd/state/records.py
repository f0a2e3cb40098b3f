"""What state knows, as values; and how a row of its tables becomes one."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from syncd.format.delta import SealedDelta
from syncd.format.head import Head
from syncd.model import Digest
from syncd.policy.packing import Numbers

CONFLICT: Final = "conflict"  # the state of a target to which another daemon wrote our generation
CLAIMED: Final = "claimed"  # that of one which another daemon holds
LOCK_FILE: Final = "lock"  # of the whole state directory
STATE_FILE: Final = "state.db"  # these two in the directory of each database
SHADOW_FILE: Final = "shadow.db"
_PAGES_LEVEL: Final = 1

# One row for each target, with what waits for it.
TARGETS_QUERY: Final = (
    "SELECT t.name, t.url, t.cursor, t.snapshot, t.stored, t.stored_ms, t.captured_ms, t.epoch, t.state,"
    " t.error, t.error_ms, t.delta_bytes,"
    " (SELECT coalesce(sum(size), 0) FROM delta d WHERE t.cursor IS NOT NULL AND d.seq > t.cursor),"
    " t.head, t.head_object, t.beside,"
    " iif(coalesce((SELECT min(seq) FROM delta), (SELECT seq + 1 FROM chain)) > t.cursor + 1,"
    " (SELECT seq FROM chain) - t.cursor, 0)"
    " FROM target t"
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the chain stands: the shadow is exactly the database after delta `seq`.

    `boundary` is False while a larger batch is only partly sealed; then `position` is empty.
    `captured_ms` is the time of the last change that the shadow holds.
    """

    generation: str
    seq: int
    digest: Digest
    page_size: int
    page_count: int
    boundary: bool
    position: str
    captured_ms: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A sealed delta on its way."""

    sealed: SealedDelta
    boundary: bool
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Redo:
    """Images that the shadow may still lack: the content of a pack, and the size after it."""

    seq: int
    page_size: int
    page_count: int
    rebase: bool
    images: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A signed object that a target acknowledged: its name, and the head that it is."""

    name: str
    head: Head


@dataclass(frozen=True, slots=True)
class TargetState:
    """What is known of one target.

    `cursor` is the last delta it has, or the snapshot being taken for it; None before that. `snapshot`
    is the newest complete one; `stored` the newest boundary that can be restored from there.
    `delta_bytes` were stored since that snapshot. `head` is the newest head that it acknowledged (see
    format.head), empty before that, and `head_object` the name of its object. `beside` says who else writes
    there, in a generation of its own. `given_up` deltas behind the cursor will not get there, since the
    outbox was full and dropped the first of them: a snapshot will lead over them.
    """

    name: str
    url: str
    cursor: int | None
    snapshot: int | None
    stored: int | None
    stored_ms: int | None
    captured_ms: int | None
    epoch: int
    state: str
    error: str
    error_ms: int
    delta_bytes: int = 0
    waiting_bytes: int = 0
    head: str = ""
    head_object: str = ""
    beside: str = ""
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the calendar: when it ran last, whether it did what it should, and in a few words what."""

    name: str
    last_ms: int
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Status:
    """A look at the state from outside the daemon."""

    chain: Chain | None
    path: str
    source_state: str
    source_error: str
    source_error_ms: int
    targets: tuple[TargetState, ...]
    jobs: tuple[Job, ...] = ()


def encode_pages(numbers: Sequence[int] | Numbers) -> bytes:
    """Page numbers, ascending, as a column of the state."""
    gaps = np.diff(np.asarray(numbers, np.int64), prepend=0)
    return zlib.compress(gaps.astype("<u4").tobytes(), _PAGES_LEVEL)


def decode_pages(raw: bytes) -> Numbers:
    """What `encode_pages` was given."""
    return np.cumsum(np.frombuffer(zlib.decompress(raw), "<u4"), dtype=np.int64)


def chain_of(row: tuple[Any, ...]) -> Chain:
    """A row of `chain`."""
    return Chain(
        generation=row[1],
        seq=row[2],
        digest=Digest.parse(row[3]),
        page_size=row[4],
        page_count=row[5],
        boundary=bool(row[6]),
        position=row[7],
        captured_ms=row[8],
    )


def target_of(row: tuple[Any, ...]) -> TargetState:
    """A row of TARGETS_QUERY."""
    return TargetState(*row)
