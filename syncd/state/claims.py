"""What this state claimed of its targets."""

from dataclasses import dataclass
from typing import Final

from syncd.state.connection import Connection

NEW: Final = "new"


@dataclass(frozen=True, slots=True)
class Held:
    """The last claim that a state made of a target, and for which generation.

    That is empty where the target was taken over and a new generation is to begin, which `NEW` says it did.
    """

    number: int
    generation: str


class ClaimTable:
    """The part of the state that is about claims. Raises StateError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def held(self, target: str) -> Held | None:
        """The claim that the state made of this target last, None before the first."""
        rows = await self._connection.rows(
            "SELECT claim, claimed FROM target WHERE name = ? AND claim NOT NULL", target
        )
        return Held(*rows[0]) if rows else None

    async def hold(self, target: str, held: Held | None) -> None:
        """The target was claimed; with None, what was claimed counts no more."""
        number, generation = (held.number, held.generation) if held else (None, "")
        async with self._connection.transaction() as run:
            run(
                "UPDATE target SET claim = ?, claimed = ?, beside = '' WHERE name = ?",
                *(number, generation, target),
            )

    async def note_beside(self, target: str, who: str) -> None:
        """For `status`: who else writes this archive, in a generation of its own."""
        async with self._connection.transaction() as run:
            run("UPDATE target SET beside = ? WHERE name = ?", who, target)
