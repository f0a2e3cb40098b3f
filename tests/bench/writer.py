"""A writer at full speed, or at a fixed rate, that times each of its commits.

    python -m tests.bench.writer --db PATH [--seconds 10] [--rate 0] [--app chat] [--hold]
        [--log FILE [--positions]]

- `--rate 0` is full speed: no pause between transactions. Otherwise commits follow an absolute schedule.
- `--app chat` (the default) writes one message of about 120 bytes per transaction into the demo's schema,
  two indexes; `--app demo` posts as the demo does, receipts and edits included.
- One JSON line at the end: transactions, seconds, tx_per_s, p50_us, p99_us, max_us, busy_errors.
  The latency is that of the whole transaction, from BEGIN to the end of COMMIT.
- `--log FILE`: a line `number wall-clock-ns` for each commit, taken right after it; written in large pieces.
- `--positions` adds ` salt frame` to each of these lines: where in which WAL the commit ended.
- `--hold` keeps the database open after the JSON line until stdin ends, so that the WAL is still there.
- SIGTERM ends the writing early.
"""

import argparse
import itertools
import json
import os
import random
import signal
import sqlite3
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TextIO

from syncd.cli import chatapp
from tests.bench.stats import percentile

LOG_BUFFER = 1 << 20
_HEADER = 48  # of the wal-index: mxFrame at 16, salt-1 at 32 as it stands in the WAL


class Messages:
    """One message per transaction, by one autocommit INSERT."""

    def __init__(self, path: str, seed: int, busy_timeout: float) -> None:
        self._chat = chatapp.Chat(path, seed)
        self.conn = self._chat.conn
        self.conn.execute(f"PRAGMA busy_timeout={int(busy_timeout * 1000)}")
        self._rng = random.Random(seed)
        self._next_id: int = self.conn.execute("SELECT coalesce(max(id), 0) + 1 FROM messages").fetchone()[0]

    def prepare(self) -> Callable[[], object]:
        """Make up a message beforehand: only SQLite's work is to be timed."""
        row = (
            self._next_id,
            self._rng.randrange(chatapp.CONVERSATIONS),
            self._rng.choice(chatapp.SENDERS),
            self._chat.body(),
            time.time_ns() // 1_000_000,
        )
        self._next_id += 1
        sql = "INSERT INTO messages(id, conversation_id, sender, body, created_at) VALUES (?, ?, ?, ?, ?)"
        return lambda: self.conn.execute(sql, row)


class Demo:
    """The demo's transactions."""

    def __init__(self, path: str, seed: int, busy_timeout: float) -> None:
        self._chat = chatapp.Chat(path, seed)
        self.conn = self._chat.conn
        self.conn.execute(f"PRAGMA busy_timeout={int(busy_timeout * 1000)}")

    def prepare(self) -> Callable[[], object]:
        return self._chat.post


APPS: dict[str, type[Messages | Demo]] = {"chat": Messages, "demo": Demo}


class Run:
    """The measurements of one run."""

    def __init__(self, log: TextIO | None, wal_index: int | None) -> None:
        self._log = log
        self._wal_index = wal_index
        self.latencies = array("Q")
        self.busy_errors = 0
        self.stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def write(self, app: Messages | Demo, *, rate: float, seconds: float) -> float:
        """Commit until the time is up; the seconds that it took."""
        start = time.perf_counter()
        for due in schedule(rate):
            now = time.perf_counter() - start
            if self.stopped or max(now, due) >= seconds:
                break
            if due > now:
                time.sleep(due - now)
            self._commit(app)
        return time.perf_counter() - start

    def _commit(self, app: Messages | Demo) -> None:
        transaction = app.prepare()
        before = time.perf_counter_ns()
        try:
            transaction()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            self.busy_errors += 1
            if app.conn.in_transaction:
                app.conn.execute("ROLLBACK")
            return
        self.latencies.append(time.perf_counter_ns() - before)
        if self._log:
            self._log.write(f"{len(self.latencies)} {time.time_ns()}{self._position()}\n")

    def _position(self) -> str:
        if self._wal_index is None:
            return ""
        header = os.pread(self._wal_index, _HEADER, 0)
        (frame,) = struct.unpack_from("=I", header, 16)
        (salt,) = struct.unpack_from(">I", header, 32)
        return f" {salt} {frame}"

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True

    def report(self, seconds: float) -> dict[str, float]:
        count = len(self.latencies)
        return {
            "transactions": count,
            "seconds": round(seconds, 3),
            "tx_per_s": round(count / seconds, 1) if seconds else 0.0,
            "p50_us": percentile(self.latencies, 50) / 1000,
            "p99_us": percentile(self.latencies, 99) / 1000,
            "max_us": max(self.latencies, default=0) / 1000,
            "busy_errors": self.busy_errors,
        }


def schedule(rate: float) -> Iterator[float]:
    """When the commits are due, in seconds after the start; all at once at full speed."""
    return (number / rate for number in itertools.count()) if rate else itertools.repeat(0.0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.writer")
    parser.add_argument("--db", required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--app", choices=APPS, default="chat")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--busy-timeout", type=float, default=5.0, help="seconds")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--positions", action="store_true")
    parser.add_argument("--hold", action="store_true")
    args = parser.parse_args()
    with ExitStack() as stack:
        log = None
        if args.log:
            log = stack.enter_context(args.log.open("w", buffering=LOG_BUFFER))
        app = APPS[args.app](args.db, args.seed, args.busy_timeout)
        # Never closed: that would drop SQLite's own locks on the file.
        wal_index = os.open(f"{args.db}-shm", os.O_RDONLY) if args.positions else None
        run = Run(log, wal_index)
        seconds = run.write(app, rate=args.rate, seconds=args.seconds)
    print(json.dumps(run.report(seconds)), flush=True)
    if args.hold:
        sys.stdin.read()
    app.conn.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
