"""How fast a large database with a long history comes back, next to `cp` and to Litestream.

    python -m tests.bench.restore [--megabytes 1000] [--deltas 10000] [--store directory|s3|both] [--json]

- A chat database, a snapshot of it, and as many transactions, each a delta in an object of its own.
- `syncd restore` is the command itself, start and key derivation included; `cp` copies the database and
  syncs the copy; Litestream restores the same transactions, applied one by one beside it.
- Exit 1 where a restored file is not the database: byte for byte (syncd), row for row (Litestream, which
  keeps tables of its own in it).
"""

import argparse
import asyncio
import filecmp
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from syncd.envelope.identity import Argon2Params, protect
from syncd.envelope.kit import Kit, render_kit
from syncd.store.directory import DirectoryStore
from syncd.store.s3 import S3Store
from tests.bench import restore_litestream as litestream
from tests.bench.restore_archive import NAME, build, copy, count_requests, writer
from tests.bench.stats import print_table
from tests.campaigns.rig import ROOT, open_depot, scratch
from tests.support import servers
from tests.support.fakes import IDENTITY, SIGNING_KEY, START_MS

_PASSPHRASE = "correct horse battery staple"
_CHEAP = Argon2Params(memory_kib=64, iterations=1, lanes=1)


def measure(directory: Path, *, megabytes: int, deltas: int, stores: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row for each way to get the database back."""
    archive, truth = asyncio.run(build(directory, megabytes=megabytes, deltas=deltas))
    requests = asyncio.run(count_requests(DirectoryStore(archive), directory / "counted.db"))
    rows = [_copied(truth, directory / "copied.db")]
    for store in stores:
        with open_depot("s3" if store == "s3" else "directory") as depot:
            url = archive.as_uri()
            if depot.endpoint_url:
                url = f"s3://{servers.BUCKET}/archive"
                asyncio.run(_upload(archive, depot.endpoint_url))
            to = directory / f"{store}.db"
            row = _restored(directory, url, depot.endpoint_url, to) | {"requests": requests}
            row["identical"] = filecmp.cmp(truth, to, shallow=False)
            rows.append({"what": f"syncd, {store}", "deltas": deltas} | row)
            to.unlink()
            if program := litestream.find_litestream():
                row = _litestream(
                    directory / f"peer-{store}", program, depot.endpoint_url, truth, megabytes, deltas
                )
                rows.append({"what": f"litestream, {store}"} | row)
            else:
                print(litestream.HOW_TO_INSTALL, file=sys.stderr)
    size = truth.stat().st_size / 1e6
    for row in rows:
        row["mb_per_s"] = size / row["seconds"]
        row["times_cp"] = row["seconds"] / rows[0]["seconds"]
    return rows


def _copied(truth: Path, to: Path) -> dict[str, Any]:
    """`cp`, and the copy on disk."""
    command = ["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(truth), str(to)]
    row = timed(command)
    identical = filecmp.cmp(truth, to, shallow=False)
    to.unlink()
    return {"what": "cp and sync", "deltas": 0, "identical": identical} | row


def _restored(directory: Path, url: str, endpoint_url: str, to: Path) -> dict[str, Any]:
    kit, passphrase = directory / "kit.txt", directory / "passphrase"
    passphrase.write_text(_PASSPHRASE)
    passphrase.chmod(0o600)
    kit.write_text(
        render_kit(
            Kit(
                database=NAME,
                target_url=url,
                endpoint_url=endpoint_url,
                verify_key=SIGNING_KEY.verify_key,
                recipient=IDENTITY.recipient,
                protected_identity=protect(IDENTITY, _PASSPHRASE, _CHEAP),
                created_ms=START_MS,
            )
        )
    )
    command = [sys.executable, "-m", "syncd.cli", "restore", "--archive", url, "--to", str(to)]
    command += ["--identity", str(kit), "--passphrase-file", str(passphrase)]
    return timed([*command, *(("--endpoint-url", endpoint_url) if endpoint_url else ())])


def _litestream(
    directory: Path, program: str, endpoint_url: str, truth: Path, megabytes: int, deltas: int
) -> dict[str, Any]:
    directory.mkdir()
    database, config, to = directory / "chat.db", directory / "litestream.yml", directory / "restored.db"
    litestream.write_config(config, database, endpoint_url=endpoint_url)
    with writer(database, megabytes) as source:
        syncs = litestream.replicate(program, config, database, source, deltas)
    row = timed([program, "restore", "-config", str(config), "-o", str(to), str(database)])
    row["identical"] = rows_of(to) == rows_of(truth)
    to.unlink()
    return {"deltas": syncs} | row


def timed(command: list[str]) -> dict[str, Any]:
    """What a command took: seconds, peak_mb, cpu_seconds. Raises RuntimeError where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.restore_peak", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(done.stdout)
    if row.pop("code"):
        raise RuntimeError(done.stderr)
    return row


def rows_of(path: Path) -> list[tuple[object, ...]]:
    """What is in the application's tables, in short; a copy of the schema's is left alone."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as conn:
        return [
            conn.execute(
                "SELECT count(*), sum(id), sum(length(body)), max(edited_at) FROM messages"
            ).fetchone(),
            conn.execute("SELECT count(*), sum(last_message_id) FROM conversations").fetchone(),
            conn.execute("SELECT count(*), sum(last_read_id) FROM receipts").fetchone(),
        ]


async def _upload(archive: Path, endpoint_url: str) -> None:
    store = S3Store(servers.BUCKET, "archive/", endpoint_url=endpoint_url)
    try:
        await copy(DirectoryStore(archive), store)
    finally:
        await store.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restore")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--deltas", type=int, default=10_000)
    parser.add_argument("--store", choices=("directory", "s3", "both"), default="both")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    stores = ("directory", "s3") if args.store == "both" else (args.store,)
    started = time.monotonic()
    with scratch("restore") as directory:
        rows = measure(directory, megabytes=args.megabytes, deltas=args.deltas, stores=stores)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        names = ("what", "deltas", "seconds", "mb_per_s", "times_cp", "peak_mb", "cpu_seconds", "requests")
        table = [[row.get(name, "") for name in names] + [row["identical"]] for row in rows]
        print_table(
            f"{args.megabytes} MB, {time.monotonic() - started:.0f} s in all", (*names, "identical"), table
        )
    return 0 if all(row["identical"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
