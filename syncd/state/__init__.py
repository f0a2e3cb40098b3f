"""syncd's own database: one for each database it keeps, in its state directory.

- One connection (aiosqlite), write-ahead log, synchronous=FULL: a commit is an fsync.
- `commit_delta` puts the sealed delta, the new place in the chain and the redo images of the shadow into
  one transaction. Only then is the shadow written; after a crash the redo is applied again.
- Redo goes when the shadow was synced, a delta when every target in use has it.
- `read_status` is for other processes: it opens the database read-only and changes nothing.
"""

from syncd.state.claims import Held
from syncd.state.database import State, open_state
from syncd.state.look import note_job, read_status
from syncd.state.records import (
    CLAIMED,
    CONFLICT,
    LOCK_FILE,
    SHADOW_FILE,
    STATE_FILE,
    Chain,
    Job,
    Outgoing,
    Redo,
    Status,
    Stored,
    TargetState,
)
from syncd.state.snapshots import Known, decode_changes

__all__ = [
    "CLAIMED",
    "CONFLICT",
    "LOCK_FILE",
    "SHADOW_FILE",
    "STATE_FILE",
    "Chain",
    "Held",
    "Job",
    "Known",
    "Outgoing",
    "Redo",
    "State",
    "Status",
    "Stored",
    "TargetState",
    "decode_changes",
    "note_job",
    "open_state",
    "read_status",
]
