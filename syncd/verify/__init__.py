"""Whether the archive of one database is whole, without restoring it.

- `archive`: the order of things, and what one look at a database's archive is made of.
- `scan`: fetching and reporting, the same for every kind of object.
- `bundles`: the deltas in order, and opened where there is an identity.
- `packs`, `tally`: what the manifests name, and whether it adds up to the snapshots' digests.
- `shadow`: the same question about the application's own file.
"""

from syncd.verify.archive import verify
from syncd.verify.shadow import check_shadow

__all__ = ["check_shadow", "verify"]
