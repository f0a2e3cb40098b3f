"""Where a target is: `file:///absolute/path` or `s3://bucket/prefix`.

- parse, format and validate stand together: `str(parse_url(text))` is the one spelling of a place, so two
  targets are the same place exactly if their URLs are equal.
- No credentials, query or fragment: credentials come from the usual AWS chain and are never in a URL.
- No segment is empty, `.` or `..`; one `/` at the end is dropped.
- In a `file` URL, `%20` and the like stand for the characters that a URL cannot hold.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from typing_extensions import override

# Wider than today's rule for new buckets (lower case only): old ones and other servers allow more.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9!_.'()*=+,~-]+")
_MAX_PREFIX: Final = 512  # S3 allows 1024 bytes in a key; ours need room behind the prefix


@dataclass(frozen=True, slots=True)
class DirectoryUrl:
    """A directory of this machine, absolute."""

    path: Path

    @override
    def __str__(self) -> str:
        return "file://" + quote(str(self.path))


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A prefix (which may be empty, and has no `/` at either end) of a bucket."""

    bucket: str
    prefix: str = ""

    @override
    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_url(text: str) -> DirectoryUrl | BucketUrl:
    """Read a target's URL. Raises ValueError with the rule that it breaks, never with the URL itself."""
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("must be file:///path or s3://bucket/prefix") from None
    if "@" in parts.netloc:
        raise ValueError("must not contain credentials; use a profile, or the usual AWS variables")
    if "?" in text or "#" in text:
        raise ValueError("must not contain '?' or '#' (in a file URL, write %3F and %23)")
    if text.startswith("file://"):
        return _parse_directory(parts.netloc, parts.path)
    if text.startswith("s3://"):
        return _parse_bucket(parts.netloc, parts.path)
    raise ValueError("must start with file:/// or s3://")


def _parse_directory(host: str, path: str) -> DirectoryUrl:
    if host:
        raise ValueError("must be file:/// and an absolute path, with three slashes")
    # Bytes that are not UTF-8 become U+FFFD, which no one means.
    plain = unquote(path, errors="replace")
    if not plain.isprintable() or "\N{REPLACEMENT CHARACTER}" in plain:
        raise ValueError("must not contain control characters, or bytes that are not UTF-8")
    segments = _segments(plain)
    if not segments:
        raise ValueError("must name a directory below /")
    return DirectoryUrl(Path("/", *segments))


def _parse_bucket(bucket: str, path: str) -> BucketUrl:
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("must name a bucket: 3 to 63 letters, digits, '.', '_' or '-'")
    segments = _segments(path)
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise ValueError("a prefix has only letters, digits and !_.'()*=+,~- between its slashes")
    prefix = "/".join(segments)
    if len(prefix) > _MAX_PREFIX:
        raise ValueError(f"a prefix has at most {_MAX_PREFIX} characters")
    return BucketUrl(bucket, prefix)


def _segments(path: str) -> list[str]:
    path = path.removeprefix("/").removesuffix("/")
    if not path:
        return []
    segments = path.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ValueError("must not contain an empty segment, '.' or '..'")
    return segments
