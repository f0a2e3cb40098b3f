"""URLs to stores."""

import subprocess
import sys
from pathlib import Path

import pytest

from syncd.errors import ConfigError
from syncd.store import open_store
from syncd.store.directory import DirectoryStore
from syncd.store.s3 import S3Store


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/backup", "/srv/backup"),
        ("FILE:///srv/backup/", "/srv/backup"),
        ("file://localhost/srv/backup", "/srv/backup"),
        ("file:///srv/with%20space%23%3F%25", "/srv/with space#?%"),
        ("file:///srv/%C3%A4", "/srv/ä"),
        ("file:///srv/a+b", "/srv/a+b"),
    ],
)
def test_file_urls(url: str, path: str) -> None:
    store = open_store(url)
    assert isinstance(store, DirectoryStore)
    assert store._root == Path(path)
    assert store.url == Path(path).as_uri()


@pytest.mark.parametrize(
    ("url", "bucket", "prefix", "canonical"),
    [
        ("s3://bucket", "bucket", "", "s3://bucket"),
        ("s3://bucket/", "bucket", "", "s3://bucket"),
        ("s3://my.bucket-1/chat", "my.bucket-1", "chat/", "s3://my.bucket-1/chat"),
        ("s3://bucket/a b/c%20d/", "bucket", "a b/c%20d/", "s3://bucket/a b/c%20d"),
    ],
)
def test_s3_urls(url: str, bucket: str, prefix: str, canonical: str) -> None:
    store = open_store(url, endpoint_url="http://127.0.0.1:9", region="eu-1", profile="p", timeout=5.0)
    assert isinstance(store, S3Store)
    assert (store._bucket, store._prefix, store.url) == (bucket, prefix, canonical)
    assert (store._region, store._profile, store._timeout) == ("eu-1", "p", 5.0)
    assert repr(store) == f"S3Store({canonical} at http://127.0.0.1:9)"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not a URL"),
        ("/srv/backup", "not a URL"),
        ("bucket", "not a URL"),
        ("gs://bucket", "'gs' is not supported"),
        ("memory://", "'memory' is not supported"),
        ("file://srv/backup", "names a host"),
        ("file://", "absolute"),
        ("file:////srv", "absolute"),
        ("file:///srv/../etc", "absolute"),
        ("file:///srv/%2e%2e/etc", "absolute"),
        ("file:///srv/a%00b", "absolute"),
        ("file:///srv?x=1", "query"),
        ("file:///srv#x", "fragment"),
        ("s3://", "bucket name"),
        ("s3:///prefix", "bucket name"),
        ("s3://a", "bucket name"),
        ("s3://bucket/a//b", "segment"),
        ("s3://bucket/a/../b", "segment"),
        ("s3://bucket/a\nb", "printable"),
        ("s3://bucket/" + "a" * 301, "300 bytes"),
    ],
)
def test_urls_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_store(url)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9", "ftp://h", "http://", "http://[", "http://h:port"])
def test_endpoints_that_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="endpoint_url"):
        open_store("s3://bucket", endpoint_url=endpoint)


@pytest.mark.parametrize(
    ("url", "endpoint"), [("s3://AKIA1:hunter2@bucket/x", ""), ("s3://bucket", "http://AKIA1:hunter2@host")]
)
def test_credentials_in_urls_are_not_repeated(url: str, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="no place for credentials") as caught:
        open_store(url, endpoint_url=endpoint)
    assert "hunter2" not in str(caught.value)
    assert "AKIA1" not in str(caught.value)


def test_the_sdk_is_imported_for_s3_only() -> None:
    program = """
import sys, syncd.store
syncd.store.open_store("file:///srv/backup")
assert not {"aiobotocore", "botocore", "aiohttp"} & set(sys.modules)
syncd.store.open_store("s3://bucket")
assert {"aiobotocore", "botocore", "aiohttp"} <= set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
