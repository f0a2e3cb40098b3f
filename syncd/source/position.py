"""Where capture stands in the application's files.

- A position is opaque outside `source/`: state keeps its spelling and hands it back after a restart.
- A `WalPosition` is found again by its salts and the header of its last frame: the same salts mean
  that the log was not reset, so every later commit is still in it.
- A `QuietPosition` is a file that nobody has changed since: same inode, size and times.
"""

import json
from dataclasses import asdict, dataclass

from syncd.errors import StateError


@dataclass(frozen=True, slots=True)
class WalPosition:
    """After frame `frame` of the log with these salts.

    `inodes` are those of the database and of the log. `header` is the frame's 24-byte header (empty at
    frame 0). `change` is the wal-index's commit counter there, None where it was not seen by this
    process: it cannot prove anything then.
    """

    inodes: tuple[int, int]
    salts: bytes
    frame: int
    header: bytes
    change: int | None = None


@dataclass(frozen=True, slots=True)
class QuietPosition:
    """A database file without a log, as fstat and its change counter described it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    change_counter: int


@dataclass(frozen=True, slots=True)
class ClosedPosition:
    """The application closed its last connection and unlinked the log, all of which had been read.

    A database file that was not written since `unlinked_ns` is unchanged. Never kept in state.
    """

    unlinked_ns: int


Position = WalPosition | QuietPosition | ClosedPosition


def format_position(position: Position | None) -> str:
    """The spelling kept in state."""
    match position:
        case None | ClosedPosition():
            return ""
        case WalPosition(salts=salts) if not any(salts):
            # An empty log that was never reset: a later one may even have the same inode.
            return ""
        case WalPosition():
            return json.dumps(
                {
                    "inodes": position.inodes,
                    "salts": position.salts.hex(),
                    "frame": position.frame,
                    "header": position.header.hex(),
                }
            )
        case QuietPosition():
            return json.dumps(asdict(position))


def parse_position(text: str) -> Position | None:
    """Read what `format_position` wrote. Raises StateError."""
    if not text:
        return None
    try:
        fields = json.loads(text)
        if "salts" in fields:
            return WalPosition(
                inodes=(int(fields["inodes"][0]), int(fields["inodes"][1])),
                salts=bytes.fromhex(fields["salts"]),
                frame=int(fields["frame"]),
                header=bytes.fromhex(fields["header"]),
            )
        return QuietPosition(**{key: int(value) for key, value in fields.items()})
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as e:
        raise StateError(f"the position kept in syncd's state cannot be read: {e}") from e
