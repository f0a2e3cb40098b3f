"""What a fault is: it begins, it lasts, it ends; and what must be told while it lasts."""

from abc import ABC, abstractmethod
from random import Random
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tests.torture.world import World
Words = tuple[str, ...]


class Fault(ABC):
    """One kind of fault. `begin` and `end` are called once each, on a new instance.

    words: any of these must be in the log and in `status --json` within 10 s; none: nothing in particular,
        but a daemon that makes no progress must say something all the same.
    logs: whether the log must have them too (a process that is stopped or dead cannot).
    seconds: how long it lasts, at least and at most.
    style: the application writes so while it lasts; empty: as it happens to.
    may_end: the daemon may end by itself, and is started again after a second, as systemd does.
    anew: a new generation may begin.
    loses: the store loses what it acknowledged while it lasts; that must be found, and got over.
    """

    words: ClassVar[Words] = ()
    logs: ClassVar[bool] = True
    seconds: ClassVar[tuple[float, float]] = (12.0, 16.0)
    style: ClassVar[str] = "single"
    may_end: ClassVar[bool] = False
    anew: ClassVar[bool] = False
    loses: ClassVar[bool] = False

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    @classmethod
    def name(cls) -> str:
        """Its name in tables: the words of the class's own."""
        return "".join(f" {c.lower()}" if c.isupper() else c for c in cls.__name__).strip()

    @classmethod
    def possible(cls, world: "World") -> bool:  # noqa: ARG003 -- those that are not always possible look at it
        """Whether this machine and this store can have it."""
        return True

    @abstractmethod
    def begin(self, world: "World") -> None:
        """It begins."""

    @abstractmethod
    def end(self, world: "World") -> None:
        """It is over; syncd must go on by itself."""
