"""What the printed policies mean, by AWS's rules; and that syncd's own requests are within them."""

import json
from typing import Any

import pytest

from syncd.store.iam import NOTES, SELF_TESTS, Role, bucket_policy, role_policy
from syncd.store.probe import PROBE_NAME
from syncd.store.s3 import S3Store
from tests.support.iam import allowed

ROOT = "arn:aws:s3:::vault/hosts/a/chat/"
GENERATION = f"{ROOT}generations/01ARZ3NDEKTSV4RRFFQ69G5FAV/"
TLS = {"aws:SecureTransport": "true"}
CREATE = {**TLS, "s3:if-none-match": "*", "s3:ObjectCreationOperation": "true"}
OVERWRITE = {**TLS, "s3:ObjectCreationOperation": "true"}


def policies(role: Role) -> list[dict[str, Any]]:
    return [role_policy(role, "vault", "hosts/a/", ["chat", "notes"]), bucket_policy("vault", "hosts/a/")]


def may(role: Role, action: str, resource: str, context: dict[str, str] | None = None) -> bool:
    context = (CREATE if action == "s3:PutObject" else TLS) if context is None else context
    return allowed(policies(role), action, resource, context)


KINDS = {
    "epoch": f"{GENERATION}epochs/00000001",
    "delta": f"{GENERATION}deltas/0000000000000001",
    "pack": f"{GENERATION}packs/0123456789abcdef0123456789abcdef",
    "snapshot": f"{GENERATION}snapshots/0000000000000000",
    "lease": f"{ROOT}leases/01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "hold": f"{ROOT}holds/01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "tombstone": f"{ROOT}tombstones/01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "selftest": f"{ROOT}{SELF_TESTS}01ARZ3NDEKTSV4RRFFQ69G5FAV/generations/x",
    "claim": f"{ROOT}claims/00000001",
    "probe": f"{ROOT}{PROBE_NAME}",
}
MARKS = {"lease", "hold", "tombstone"}
ARCHIVE = {"epoch", "delta", "pack", "snapshot"}


@pytest.mark.parametrize(
    ("role", "action", "kinds"),
    [
        (Role.WRITER, "s3:PutObject", {*ARCHIVE, "claim", "lease", "probe"}),
        (Role.WRITER, "s3:GetObject", {"claim", "epoch", "delta", "snapshot", "probe"}),
        (Role.WRITER, "s3:DeleteObject", set()),
        (Role.PRUNER, "s3:PutObject", MARKS),
        (Role.PRUNER, "s3:GetObject", set(KINDS)),
        (Role.PRUNER, "s3:DeleteObject", {*ARCHIVE, *MARKS}),
        (Role.RESTORER, "s3:PutObject", {"lease", "selftest"}),
        (Role.RESTORER, "s3:GetObject", set(KINDS)),
        (Role.RESTORER, "s3:DeleteObject", {"lease", "selftest"}),
    ],
)
def test_what_a_role_may_do_to_which_objects(role: Role, action: str, kinds: set[str]) -> None:
    assert {kind for kind, resource in KINDS.items() if may(role, action, resource)} == kinds


@pytest.mark.parametrize("role", Role)
def test_nobody_overwrites_goes_without_tls_or_leaves_the_prefix(role: Role) -> None:
    for resource in KINDS.values():
        assert not may(role, "s3:PutObject", resource, OVERWRITE)
        assert not may(role, "s3:PutObject", resource, {**CREATE, "aws:SecureTransport": "false"})
        assert not may(role, "s3:GetObject", resource, {"aws:SecureTransport": "false"})
        for action in ("s3:DeleteObjectVersion", "s3:PutObjectRetention", "s3:BypassGovernanceRetention"):
            assert not may(role, action, resource)
        for action in ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"):
            assert not may(role, action, resource.replace("hosts/a/", "hosts/b/"))
            assert not may(role, action, resource.replace("/chat/", "/other/"))
    for action in ("s3:PutBucketPolicy", "s3:DeleteBucket", "s3:PutLifecycleConfiguration"):
        assert not may(role, action, "arn:aws:s3:::vault")


@pytest.mark.parametrize(
    ("role", "prefix", "listed"),
    [
        (Role.WRITER, "hosts/a/chat/generations/", False),
        (Role.PRUNER, "hosts/a/chat/generations/", True),
        (Role.PRUNER, "hosts/a/", False),
        (Role.RESTORER, "hosts/a/notes/", True),
        (Role.RESTORER, "hosts/a/", True),  # which databases are there, for who has only the kit
        (Role.RESTORER, "hosts/", False),
        (Role.RESTORER, "", False),
    ],
)
def test_who_lists_what(role: Role, prefix: str, listed: bool) -> None:
    assert may(role, "s3:ListBucket", "arn:aws:s3:::vault", {**TLS, "s3:prefix": prefix}) is listed


@pytest.mark.parametrize("role", Role)
def test_nothing_is_granted_by_a_wildcard(role: Role) -> None:
    policy = role_policy(role, "vault", "", ["chat"])
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert not [action for action in actions if "*" in action]
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    assert all("/chat/" in arn for s in policy["Statement"] if s["Sid"] != "List" for arn in s["Resource"])
    assert len(json.dumps(policy)) < 2048  # the least of AWS's limits, that of a user's inline policies


def test_the_notes_are_sentences() -> None:
    assert all(note.endswith(".") and "  " not in note and "\n" not in note for note in NOTES)


class Captured(Exception):
    """The request, as it would go out."""


async def test_what_the_store_sends_is_a_create(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("ACCESS_KEY_ID", "a"),
        ("SECRET_ACCESS_KEY", "b"),
        ("EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    store = S3Store("vault", "hosts/a/chat/")
    sent: list[Any] = []

    def capture(request: Any, **_: object) -> None:
        sent.append(request)
        raise Captured

    try:
        client = await store._connected()
        client.meta.events.register("before-send.s3", capture)
        with pytest.raises(Captured):
            await store.put("leases/x", b"data")
    finally:
        await store.close()
    (request,) = sent
    context = {
        "aws:SecureTransport": str(request.url.startswith("https://")).lower(),
        "s3:ObjectCreationOperation": "true",
        "s3:if-none-match": request.headers["If-None-Match"].decode(),
    }
    assert may(Role.WRITER, "s3:PutObject", f"{ROOT}leases/x", context)
