"""The configuration: its model, how it is found, read and checked, and the file that `init` writes."""

from syncd.config.load import check_private, check_unwritable, find, load, parse
from syncd.config.model import (
    Batch,
    Capture,
    Check,
    Config,
    Database,
    Drill,
    Keys,
    Log,
    Retention,
    Snapshot,
    Stop,
    Target,
)
from syncd.config.relations import warnings
from syncd.config.url import BucketUrl, DirectoryUrl, parse_url

__all__ = [
    "Batch",
    "BucketUrl",
    "Capture",
    "Check",
    "Config",
    "Database",
    "DirectoryUrl",
    "Drill",
    "Keys",
    "Log",
    "Retention",
    "Snapshot",
    "Stop",
    "Target",
    "check_private",
    "check_unwritable",
    "find",
    "load",
    "parse",
    "parse_url",
    "warnings",
]
