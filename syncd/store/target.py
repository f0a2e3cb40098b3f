"""From a target's URL to its store.

- `file:///absolute/path`, percent-encoded; `s3://bucket/prefix`, taken as it is.
- The SDK of a store is imported when the first URL of its kind is opened.
- Opening sends nothing: an unreachable server shows at the first call.
- A URL with credentials in it is refused, and not repeated in the message.
"""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from syncd.errors import ConfigError
from syncd.store.base import Store
from syncd.store.directory import DirectoryStore
from syncd.store.helped import HelpedStore

SCHEMES: Final = ("file", "s3")

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_NO_CREDENTIALS: Final = "put credentials in the environment, in ~/.aws, or name a profile"


def open_store(
    url: str,
    *,
    endpoint_url: str = "",
    region: str = "",
    profile: str = "",
    timeout: float = 60.0,
    helped: bool = False,
) -> Store:
    """The store at `url`; `timeout` in seconds, per call, the other options are S3's. Raises ConfigError.

    Where it is `helped`, other processes help to get bundles in their thousands.
    """
    scheme, separator, _ = url.partition("://")
    match scheme.lower():
        case "file":
            return DirectoryStore(_file_path(url), timeout=timeout)
        case "s3":
            bucket, prefix = _bucket_and_prefix(url)
            _check_endpoint(endpoint_url)
            from syncd.store.s3 import S3Store  # noqa: PLC0415  # costs 0.3 s and 30 MB, see the module

            store = S3Store(
                bucket, prefix, endpoint_url=endpoint_url, region=region, profile=profile, timeout=timeout
            )
            if not helped:
                return store
            options = {"endpoint_url": endpoint_url, "region": region, "profile": profile}
            return HelpedStore(store, {"url": url, "timeout": timeout} | options, timeout=timeout)
        case _:
            what = f"scheme {scheme!r} is not supported" if separator else "the target is not a URL"
            raise ConfigError(what, hint="write file:///absolute/path or s3://bucket/prefix")


def _file_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise ConfigError(f"{url} names a host", hint="write three slashes: file:///absolute/path")
    if parts.query or parts.fragment:
        raise ConfigError(f"{url} has a query or fragment", hint="write ? as %3F and # as %23 in a path")
    path = unquote(parts.path)
    if not path.startswith("/") or path.startswith("//") or "\0" in path or ".." in Path(path).parts:
        raise ConfigError(f"{url} is not an absolute path", hint="write file:///absolute/path, without ..")
    return Path(path)


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    bucket, _, prefix = url[len("s3://") :].partition("/")
    if "@" in bucket:
        raise ConfigError("an s3:// URL has no place for credentials", hint=_NO_CREDENTIALS)
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{url} has no valid bucket name", hint="write s3://bucket/prefix")
    prefix = prefix.strip("/")
    if prefix and not all(part not in {"", ".", ".."} for part in prefix.split("/")):
        raise ConfigError(f"{url} has an empty or dotted segment", hint="write s3://bucket/some/prefix")
    if not prefix.isprintable() or len(prefix.encode()) > 300:
        raise ConfigError("the prefix of the s3:// URL is not printable, or longer than 300 bytes")
    return bucket, f"{prefix}/" if prefix else ""


def _check_endpoint(endpoint_url: str) -> None:
    if not endpoint_url:
        return
    try:
        parts = urlsplit(endpoint_url)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise ConfigError("endpoint_url cannot be read", hint="write http(s)://host:port") from error
    if user is not None or "@" in parts.netloc:
        raise ConfigError("endpoint_url has no place for credentials", hint=_NO_CREDENTIALS)
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigError(f"endpoint_url {endpoint_url!r} is not usable", hint="write http(s)://host:port")
