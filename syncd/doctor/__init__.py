"""What can be wrong around a backup, looked for before it matters.

- `findings` judges values and does no I/O; `host` looks at files, databases and the state; `store` asks the
  targets, by trying.
- Every finding is ok, a warning or a failure; one that is not ok says what to do.
"""

from syncd.doctor.findings import Finding, Level
from syncd.doctor.host import look_at_database, look_at_host
from syncd.doctor.store import look_at_target

__all__ = ["Finding", "Level", "look_at_database", "look_at_host", "look_at_target"]
