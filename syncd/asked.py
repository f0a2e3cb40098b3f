"""What the command line asks of a database's shippers, answered in plain data."""

from collections.abc import Mapping
from dataclasses import asdict

from syncd.access import explained
from syncd.errors import StoreRefused
from syncd.ship import Shipper
from syncd.store.iam import Role

Answer = list[dict[str, object]]


async def snapshots(shippers: Mapping[str, Shipper], target: str | None, *, whole: bool) -> Answer:
    """Take a snapshot on each target, or one: what was stored. Raises StoreError, ConflictError."""
    answer: Answer = []
    for name, shipper in shippers.items():
        if target in {None, name}:
            taken = await shipper.snapshot("asked for", whole=whole)
            answer.append({"target": name, "snapshot": asdict(taken) if taken else None})
    return answer


async def take_overs(shippers: Mapping[str, Shipper], target: str | None) -> Answer:
    """Take each target over, or one: what was closed, what not. Raises StoreError, ConflictError."""
    answer: Answer = []
    for name, shipper in shippers.items():
        if target in {None, name}:
            try:
                taken = await shipper.take_over()
            except StoreRefused as e:
                raise explained(e, name, Role.PRUNER) from e
            left = {generation: error.message for generation, error in taken.left}
            answer.append({"target": name, "claim": taken.claim, "closed": list(taken.closed), "left": left})
    return answer
