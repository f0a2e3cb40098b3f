"""Named operations with weights, and the words that switch groups of them on and off."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

GROUPS = (
    "dml",  # rows and blobs
    "rollback",  # transactions and statements that come to nothing, and savepoints
    "ddl",
    "vacuum",
    "checkpoint",
    "pragma",
    "connection",  # readers, second connections, closing and reopening
    "process",  # a second process that writes
    "journal",  # other journal modes than WAL, and switching between them
    "pagesize",  # leaving WAL, VACUUM to another page size
    "exclusive",  # locking_mode=EXCLUSIVE
    "crash",  # SIGKILL
    "file",  # the database deleted, recreated, replaced by a backup
)


class NotNow(Exception):
    """The operation makes no sense in the present state; nothing was done."""


@dataclass(frozen=True, slots=True)
class Op(Generic[T]):
    """One operation. `alone`: no other connection may be open meanwhile."""

    name: str
    group: str
    weight: float
    alone: bool
    run: Callable[[T], None]


class Registry(Generic[T]):
    """Operations on a T, by name. The order of their definition is part of what a seed means."""

    def __init__(self) -> None:
        self.ops: dict[str, Op[T]] = {}

    def op(
        self, group: str, weight: float, *, alone: bool = False
    ) -> Callable[[Callable[[T], None]], Callable[[T], None]]:
        """Register the decorated function under its own name."""
        assert group in GROUPS

        def register(run: Callable[[T], None]) -> Callable[[T], None]:
            name = run.__name__
            assert name not in self.ops
            self.ops[name] = Op(name, group, weight, alone, run)
            return run

        return register

    def weights(self, allow: Collection[str]) -> dict[str, float]:
        """The operations that `allow` (names of groups or of operations) permits."""
        return {op.name: op.weight for op in self.ops.values() if op.group in allow or op.name in allow}
