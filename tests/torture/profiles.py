"""What is tortured together: a store, a journal mode, writing styles, and kinds of faults."""

from dataclasses import dataclass
from typing import Final

from tests.torture import local, network, twins
from tests.torture.faults import Fault
from tests.torture.styles import ROLLBACK_STYLES, WAL_STYLES

Kinds = tuple[type[Fault], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """See the module."""

    name: str
    faults: Kinds
    stores: tuple[str, ...] = ("directory", "s3")
    mode: str = "wal"
    styles: tuple[str, ...] = tuple(WAL_STYLES)
    bulk_bytes: int = 20_000_000
    outbox: str = "64MiB"
    resume_seconds: float = 75.0


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("process", local.PROCESS),
        Profile("disk", local.DISK),
        Profile("source", local.SOURCE),
        Profile("state", (*local.STATE, twins.Copied)),
        Profile("network", network.NETWORK, stores=("s3",), outbox="4MiB"),
        Profile(
            "bulk",
            (local.Killed, local.DiskFull),
            styles=("bulk", "bursts"),
            bulk_bytes=200_000_000,
            outbox="1GiB",
            resume_seconds=240.0,  # hundreds of megabytes are compared, sealed and stored first
        ),
        Profile("rollback", (*local.PROCESS, *local.DISK), mode="delete", styles=ROLLBACK_STYLES),
        Profile(
            "mixed",
            (*local.PROCESS, *local.DISK, *local.SOURCE, *local.STATE, twins.Copied, *network.NETWORK),
        ),
    )
}
