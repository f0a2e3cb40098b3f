"""The least that each role needs of a bucket, as policies in AWS's language.

- A role's policy goes to its user or role, and only allows. The bucket's policy only denies: what nobody
  may do, whoever allows it.
- The writer creates. It reads nothing but claims, and what it wrote itself (never a pack), which takes a look
  where an answer was lost; see adr/0008. It lists nothing and deletes nothing.
- Names are those of `format.names`, below each database of the target.
- `NOTES` says what the policies do not bring about.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from syncd.format.names import CLAIMS, GENERATIONS, HEARTBEATS, HOLDS, LEASES, TOMBSTONES
from syncd.store.probe import PROBE_NAME

SELF_TESTS: Final = "selftest/"
_VERSION: Final = "2012-10-17"
# Whatever touches objects. Some servers refuse a bare "*" in a policy of a bucket.
_ALL: Final = ("s3:Abort*", "s3:Delete*", "s3:Get*", "s3:List*", "s3:Put*", "s3:Restore*")
_CREATE: Final = ("s3:PutObject", "s3:AbortMultipartUpload")

_NOTES: Final = """\
The bucket's policy wants a server that knows the condition key s3:if-none-match; Amazon S3 does since
November 2024. A server that does not know it lets every overwrite pass (SeaweedFS 4.48), or refuses
every create.

Without that statement, whoever has the writer's credentials can overwrite objects. syncd itself cannot:
each of its requests asks for a create. Versioning and Object Lock keep what was overwritten or deleted.

Object Lock: make the bucket with it, and set a default retention in COMPLIANCE mode, longer than it
takes you to notice. Then a delete only hides an object, and its version goes by a lifecycle rule for
noncurrent versions, after the lock. No policy here lets anyone delete a version, or change a lock.

No policy limits how much is stored, or when. Whoever has the writer's credentials can fill the bucket,
and can use names that the daemon has not come to yet: it then stops with a conflict.

With SSE-KMS, the writer also needs kms:GenerateDataKey on the key, and whoever reads needs kms:Decrypt.
"""
NOTES: Final = tuple(" ".join(note.split()) for note in _NOTES.split("\n\n"))


class Role(StrEnum):
    """Who uses a target."""

    WRITER = "writer"
    PRUNER = "pruner"
    RESTORER = "restorer"


def role_policy(role: Role, bucket: str, prefix: str, databases: Iterable[str]) -> dict[str, Any]:
    """What goes to the user of `role`. `prefix` is the target's, empty or with its slash."""
    roots = [f"{prefix}{name}/" for name in databases]
    return {"Version": _VERSION, "Statement": _statements(role, bucket, prefix, roots)}


def _statements(role: Role, bucket: str, prefix: str, roots: Sequence[str]) -> list[dict[str, Any]]:
    match role:
        case Role.WRITER:
            creates = (CLAIMS, GENERATIONS, HEARTBEATS, LEASES, PROBE_NAME)
            own = [f"{CLAIMS}*"]
            own += [f"{GENERATIONS}*/{kind}/*" for kind in ("epochs", "deltas", "snapshots")]
            return [
                _allow("Create", _CREATE, bucket, roots, tuple(f"{each}*" for each in creates)),
                _allow("ReadOwn", ("s3:GetObject",), bucket, roots, (*own, PROBE_NAME)),
            ]
        case Role.PRUNER:
            marks, beats = (f"{HOLDS}*", f"{LEASES}*", f"{TOMBSTONES}*"), (f"{HEARTBEATS}*",)
            return [
                _list(bucket, roots),
                _allow("Read", ("s3:GetObject",), bucket, roots, ("*",)),
                _allow("Mark", _CREATE, bucket, roots, marks),
                _allow("Delete", ("s3:DeleteObject",), bucket, roots, (f"{GENERATIONS}*", *beats, *marks)),
            ]
        case Role.RESTORER:
            passing = (f"{LEASES}*", f"{SELF_TESTS}*")
            return [
                _list(bucket, roots, prefix),
                _allow("Read", ("s3:GetObject",), bucket, roots, ("*",)),
                _allow("LeaseAndSelfTest", (*_CREATE, "s3:DeleteObject"), bucket, roots, passing),
            ]


def bucket_policy(bucket: str, prefix: str) -> dict[str, Any]:
    """What goes to the bucket: no plain HTTP at all, and below `prefix` nothing but creates of new names."""
    return {
        "Version": _VERSION,
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": list(_ALL),
                "Resource": [_arn(bucket), _arn(bucket, "*")],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            {
                "Sid": "CreateOnce",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": _arn(bucket, f"{prefix}*"),
                "Condition": {
                    "Null": {"s3:if-none-match": "true"},
                    "Bool": {"s3:ObjectCreationOperation": "true"},
                },
            },
        ],
    }


def _allow(
    sid: str, actions: Sequence[str], bucket: str, roots: Iterable[str], names: Sequence[str]
) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": [_arn(bucket, root + name) for root in roots for name in names],
    }


def _list(bucket: str, roots: Iterable[str], *exact: str) -> dict[str, Any]:
    return {
        "Sid": "List",
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [_arn(bucket)],
        "Condition": {"StringLike": {"s3:prefix": [*exact, *(f"{root}*" for root in roots)]}},
    }


def _arn(bucket: str, name: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{name}" if name else f"arn:aws:s3:::{bucket}"
