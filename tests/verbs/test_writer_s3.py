"""The whole writer's path against a real server that enforces what `syncd policy` prints."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from typing_extensions import override

from syncd import snapshot
from syncd.errors import ConflictError, StoreRefused, StoreUnavailable
from syncd.policy.retention import Retention
from syncd.prune import prune
from syncd.ship import Shipper
from syncd.store import PrefixStore
from syncd.store.iam import Role, bucket_policy, role_policy
from syncd.store.probe import probe
from syncd.store.s3 import S3Store
from tests.support.fakes import SIGNING_KEY
from tests.support.faultproxy import Fault, FaultProxy
from tests.support.gateway import Gateway
from tests.support.iam import as_user
from tests.support.servers import BUCKET, S3Server, s3_environ
from tests.verbs.bench import NAME, Bench

_HOUR = 3_600_000


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PACK_BYTES", 4 * 4096)


def creates_only(writer: dict[str, Any]) -> dict[str, Any]:
    """The writer's policy without reading its own."""
    return {**writer, "Statement": [s for s in writer["Statement"] if s["Sid"] == "Create"]}


@pytest.fixture(scope="module")
def roles(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of credentials with a profile for each role, each limited as `syncd policy` prints."""
    path = tmp_path_factory.mktemp("aws") / "credentials"
    with path.open("w") as file:
        policies = {role.value: role_policy(role, BUCKET, "roles/", [NAME]) for role in Role}
        policies["creator"] = creates_only(policies["writer"])
        for role, policy in policies.items():
            user = as_user(seaweedfs, role, policy)
            file.write(f"[{role}]\n")
            file.writelines(f"{name.lower()} = {value}\n" for name, value in user.items())
    return path


@pytest.fixture(autouse=True)
def environment(roles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environ().items():
        if "KEY" not in name:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(roles))


@pytest.fixture(autouse=True)
def emptied(seaweedfs: S3Server) -> Iterator[Any]:
    with closing(seaweedfs.client()) as client:
        yield client
        for row in client.list_objects_v2(Bucket=BUCKET, Prefix="roles/").get("Contents", ()):
            client.delete_object(Bucket=BUCKET, Key=row["Key"])


@asynccontextmanager
async def opened(server: S3Server, role: str, *, url: str = "", attempts: int = 3) -> AsyncIterator[S3Store]:
    store = S3Store(
        BUCKET, f"roles/{NAME}/", endpoint_url=url or server.endpoint_url, profile=role, attempts=attempts
    )
    try:
        yield store
    finally:
        await store.close()


async def grow(bench: Bench, shipper: Shipper) -> None:
    bench.sql("UPDATE t SET a = randomblob(20000) WHERE id = 1")
    await bench.capture(shipper._replica)
    await shipped(shipper)


async def shipped(shipper: Shipper) -> None:
    for _ in range(20):
        try:
            await shipper.ship()
        except StoreUnavailable:
            continue
        return
    raise AssertionError


@pytest.mark.parametrize("who", ["writer", "creator"])
async def test_it_writes_all_with_the_printed_policy(bench: Bench, seaweedfs: S3Server, who: str) -> None:
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 3)
    async with opened(seaweedfs, who) as store, bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", store)
        await shipper.ship()
        for _ in range(3):
            await grow(bench, shipper)
        taken = await shipper.snapshot("test")
        assert taken is not None
        assert 0 < taken.changed < taken.pages
        assert await probe(store) is (who == "writer")  # who cannot read proves less
    async with opened(seaweedfs, Role.RESTORER) as store:
        for seq, truth in bench.truth.items():
            assert (await bench.restore(seq=seq, store=store))[1] == truth


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("call", range(1, 12))
async def test_lost_acknowledgements_are_not_taken_for_a_second_writer(
    bench: Bench, seaweedfs: S3Server, call: int, attempts: int
) -> None:
    """One of the first answers is lost, whichever; with one attempt syncd repeats, with three the SDK."""
    async with (
        FaultProxy(seaweedfs.port) as proxy,
        opened(seaweedfs, Role.WRITER, url=proxy.url, attempts=attempts) as store,
        bench.replica() as replica,
    ):
        await bench.capture(replica)
        shipper = Shipper(replica, "main", Losing(store, proxy, call))
        await shipped(shipper)
        await grow(bench, shipper)
        await shipper.snapshot("test")
        assert proxy.faults_done == 1
    async with opened(seaweedfs, Role.RESTORER) as store:
        for seq, truth in bench.truth.items():
            assert (await bench.restore(seq=seq, store=store))[1] == truth


class Losing(PrefixStore):
    """Has the proxy lose the answer to put number `call`."""

    def __init__(self, inner: S3Store, proxy: FaultProxy, call: int) -> None:
        super().__init__(inner, "")
        self._proxy, self._left = proxy, call

    @override
    async def put(self, name: str, data: bytes) -> None:
        self._left -= 1
        if self._left == 0:
            self._proxy.set(Fault.LOST_ACK)
        await super().put(name, data)


async def test_a_second_writer_is_found_out(bench: Bench, seaweedfs: S3Server, tmp_path: Path) -> None:
    async with opened(seaweedfs, Role.WRITER) as store:
        async with bench.replica() as replica:
            await bench.capture(replica)
            await Shipper(replica, "main", store).ship()
        bench.copy_state(tmp_path / "copy")
        async with bench.replica() as replica:
            await grow(bench, Shipper(replica, "main", store))
        async with bench.replica(state=tmp_path / "copy") as replica:
            with pytest.raises(ConflictError):
                await grow(bench, Shipper(replica, "main", store))


async def test_prune_takes_the_pruners_credentials(bench: Bench, seaweedfs: S3Server) -> None:
    async with opened(seaweedfs, Role.WRITER) as store, bench.replica() as replica:
        await bench.capture(replica)
        await Shipper(replica, "main", store).ship()
        with pytest.raises(StoreRefused, match="access denied"):
            await pruned(bench, store)
    async with opened(seaweedfs, Role.PRUNER) as store:
        await pruned(bench, store)


async def pruned(bench: Bench, store: S3Store) -> None:
    await prune(
        store,
        database=NAME,
        retention=Retention(pitr_ms=_HOUR),
        grace_ms=_HOUR,
        clock=bench.clock,
        log=bench.log,
        verify_key=SIGNING_KEY.verify_key,
        dry_run=True,
    )


def thief(url: str) -> Any:
    """A plain client with the writer's credentials."""
    return botocore.session.Session(profile="writer").create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=url,
        config=Config(s3={"addressing_style": "path"}),
    )


def refusals(client: Any, key: str) -> dict[str, str]:
    """What the server says to everything that a thief of the credentials may try."""
    calls: dict[str, Callable[[], object]] = {
        "delete": lambda: client.delete_object(Bucket=BUCKET, Key=key),
        "list": lambda: client.list_objects_v2(Bucket=BUCKET, Prefix="roles/"),
        "create again": lambda: client.put_object(Bucket=BUCKET, Key=key, Body=b"x", IfNoneMatch="*"),
        "put elsewhere": lambda: client.put_object(Bucket=BUCKET, Key="other/x", Body=b"x", IfNoneMatch="*"),
        "tombstone": lambda: client.put_object(
            Bucket=BUCKET, Key=f"roles/{NAME}/tombstones/x", Body=b"x", IfNoneMatch="*"
        ),
        "read a pack": lambda: client.get_object(Bucket=BUCKET, Key=key),
        "policy": lambda: client.delete_bucket_policy(Bucket=BUCKET),
        "versioning": lambda: client.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}
        ),
        "drop": lambda: client.delete_bucket(Bucket=BUCKET),
    }
    found = {what: refusal(call) for what, call in calls.items()}
    # Deletes of many at once are answered one by one.
    several = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}]})
    found["delete many"] = several["Errors"][0]["Code"]
    return found


async def test_the_server_refuses_to_delete_and_the_rest(
    bench: Bench, seaweedfs: S3Server, emptied: Any
) -> None:
    async with opened(seaweedfs, Role.WRITER) as store, bench.replica() as replica:
        await bench.capture(replica)
        await Shipper(replica, "main", store).ship()
    rows = emptied.list_objects_v2(Bucket=BUCKET, Prefix=f"roles/{NAME}/generations/")["Contents"]
    (key,) = (row["Key"] for row in rows if "/packs/" in row["Key"])
    with closing(thief(seaweedfs.endpoint_url)) as client:
        found = refusals(client, key)
    assert found.pop("create again") == "PreconditionFailed"
    assert set(found.values()) == {"AccessDenied"}
    async with opened(seaweedfs, Role.RESTORER) as store:
        assert (await bench.restore(store=store))[1] == bench.truth[0]


async def test_nobody_overwrites_behind_a_gateway_that_enforces_the_printed_bucket_policy(
    bench: Bench, seaweedfs: S3Server
) -> None:
    """The writer's whole way, and a thief's, over the wire; see tests.support.gateway for what is real."""
    bench.sql(*["INSERT INTO t (a) VALUES (randomblob(20000))"] * 3)
    async with Gateway(seaweedfs.port, bucket_policy(BUCKET, "roles/")) as gateway:
        async with opened(seaweedfs, Role.WRITER, url=gateway.url) as store, bench.replica() as replica:
            await bench.capture(replica)
            shipper = Shipper(replica, "main", store)
            await shipper.ship()
            await grow(bench, shipper)
            assert await shipper.snapshot("test") is not None
        assert gateway.refused == []
        names = gateway.created
        assert {name.split("/")[6] for name in names if "/generations/" in name} >= {"packs", "deltas"}
        found = await asyncio.to_thread(overwrites, gateway.url, names[-1].removeprefix(f"/{BUCKET}/"))
        assert found == {"overwrite": "AccessDenied", "in parts": "AccessDenied", "delete": "AccessDenied"}
        assert len(gateway.refused) == 2
    async with opened(seaweedfs, Role.RESTORER) as store:
        for seq, truth in bench.truth.items():
            assert (await bench.restore(seq=seq, store=store))[1] == truth


def overwrites(url: str, key: str) -> dict[str, str]:
    """What is said to a thief of the writer's credentials who would change or delete what is there."""

    def in_parts() -> None:
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        part = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
        parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        client.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=parts)

    with closing(thief(url)) as client:
        calls: dict[str, Callable[[], object]] = {
            "overwrite": lambda: client.put_object(Bucket=BUCKET, Key=key, Body=b"x"),
            "in parts": in_parts,
            "delete": lambda: client.delete_object(Bucket=BUCKET, Key=key),
        }
        return {what: refusal(call) for what, call in calls.items()}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_overwriting_passes_where_the_server_does_not_know_the_condition(
    seaweedfs: S3Server, emptied: Any
) -> None:
    """Why the notes name this server; when it learns the condition, this fails and they can go."""
    once = bucket_policy(BUCKET, "roles/")["Statement"][1]
    assert once["Sid"] == "CreateOnce"
    key = f"roles/{NAME}/leases/p"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [once]})
    emptied.put_object(Bucket=BUCKET, Key=key, Body=b"first")
    emptied.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    try:
        with closing(thief(seaweedfs.endpoint_url)) as client:
            client.put_object(Bucket=BUCKET, Key=key, Body=b"second")
    finally:
        emptied.delete_bucket_policy(Bucket=BUCKET)


def test_object_lock_keeps_what_was_overwritten_and_deleted(emptied: Any) -> None:
    """The advice of the notes, on a server: even who may do everything loses no version."""
    bucket, key = "locked-vault", f"{NAME}/generations/g/packs/p"
    emptied.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    emptied.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    first = emptied.put_object(Bucket=bucket, Key=key, Body=b"first", IfNoneMatch="*")["VersionId"]
    emptied.put_object(Bucket=bucket, Key=key, Body=b"second")
    emptied.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        emptied.delete_object(Bucket=bucket, Key=key, VersionId=first)
    with closing(emptied.get_object(Bucket=bucket, Key=key, VersionId=first)["Body"]) as body:
        assert body.read() == b"first"


def test_the_printed_bucket_policy_keeps_plain_http_out(emptied: Any) -> None:
    bucket = "tls-vault"
    emptied.create_bucket(Bucket=bucket)
    emptied.put_object(Bucket=bucket, Key="x", Body=b"x")
    emptied.put_bucket_policy(Bucket=bucket, Policy=json.dumps(bucket_policy(bucket, "")))
    calls: list[Callable[[], object]] = [
        lambda: emptied.put_object(Bucket=bucket, Key="y", Body=b"x", IfNoneMatch="*"),
        lambda: emptied.get_object(Bucket=bucket, Key="x"),
        lambda: emptied.list_objects_v2(Bucket=bucket),
    ]
    for call in calls:
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
