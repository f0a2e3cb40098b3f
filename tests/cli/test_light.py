"""What a daemon on S3 does not carry: tests/bench/memory.py measures, this keeps it from coming back."""

import json
import subprocess
import sys

import pytest
from botocore.utils import parse_timestamp

from syncd.store.s3model import loader, parse_time

UNWANTED = {"rich", "pygments", "cryptography.x509", "tomlkit"}
PROBE = "import json, sys; import syncd.cli.run, syncd.store.s3; print(json.dumps(sorted(sys.modules)))"


def test_the_daemon_imports_nothing_that_it_does_not_use() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert {"structlog", "aiobotocore", "cryptography"} <= modules
    assert UNWANTED & modules == set()


def test_rich_can_be_had_after_the_log() -> None:
    code = "import syncd.log, rich.console; print(rich.console.Console().is_terminal)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_description_of_s3_is_lean_and_whole() -> None:
    model = loader().load_service_model("s3", "service-2")
    put = model["operations"]["PutObject"]
    assert put["documentation"] == ""
    assert {"Bucket", "Key", "IfNoneMatch", "ChecksumSHA256"} <= set(
        model["shapes"][put["input"]["shape"]]["members"]
    )
    assert set(model["shapes"][put["output"]["shape"]]["members"]) == set()
    got = model["shapes"][model["operations"]["GetObject"]["output"]["shape"]]
    assert set(got["members"]) == {"Body", "ContentLength"}
    assert got["payload"] == "Body"
    assert set(model["shapes"]["Object"]["members"]) == {"Key", "LastModified", "Size"}


def test_of_the_endpoints_s3_and_those_of_credentials_stay() -> None:
    aws = next(p for p in loader().load_data("endpoints")["partitions"] if p["partition"] == "aws")
    assert {"s3", "sts", "portal.sso", "oidc"} <= set(aws["services"])
    assert "ec2" not in aws["services"]
    assert "eu-central-1" in aws["services"]["s3"]["endpoints"]
    assert "eu-central-1" in aws["regions"]


def test_what_is_not_there_is_not_there() -> None:
    assert loader().file_loader.load_file("/nonexistent/service-2") is None


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-23T13:55:05.123Z",
        "2026-11-23T13:55:05Z",
        "2026-11-23T13:55:05+01:00",
        "Mon, 23 Nov 2026 13:55:05 GMT",
        "1795442105Z",
        1795442105,
        "1795442105",
    ],
)
def test_times_are_what_the_sdk_reads_in_them(value: object) -> None:
    try:
        expected = parse_timestamp(value)
    except ValueError:
        with pytest.raises(ValueError, match="Invalid timestamp"):
            parse_time(value)
    else:
        assert parse_time(value) == expected
