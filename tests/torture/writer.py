"""The application, as a process: it writes in one style after another, as it is told.

    python -m tests.torture.writer DATABASE JOURNAL [--mode wal] [--counter N] [--bulk-bytes N] [--seed N]

- One JSON line on stdin asks, one on stdout answers: `{"do": "style", "name": ...}` writes until the next
  line; `pause`, `close`, `open`, `backup` (to `to`), `report`, `stop` do what they say and wait for the next.
- Each answer has `counter`, `commits`, `slowest_ms` and what else was noticed; an error of SQLite ends the
  process after `{"error": ...}`.
- It knows nothing of syncd.
"""

import argparse
import json
import select
import sqlite3
import sys
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.ledger import Ledger
from tests.torture.styles import run_style


def _told(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def _report(ledger: Ledger) -> dict[str, Any]:
    return {
        "counter": ledger.counter,
        "commits": ledger.commits,
        "slowest_ms": round(ledger.slowest * 1000, 1),
        "slowest_checkpoint_ms": round(ledger.slowest_checkpoint * 1000, 1),
        "busy_checkpoints": ledger.busy_checkpoints,
        "complaints": ledger.complaints,
    }


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def serve(ledger: Ledger, rng: Random) -> None:
    """Do as told, until told to stop or stdin ends."""
    while line := sys.stdin.readline():
        asked = json.loads(line)
        match asked["do"]:
            case "style":
                _say(_report(ledger))
                run_style(asked["name"], ledger, rng, _told)
                continue
            case "close":
                ledger.close()
            case "open":
                ledger.reopen()
            case "backup":
                ledger.backup(Path(asked["to"]))
            case "stop":
                ledger.close()
                _say(_report(ledger))
                return
            case _:
                pass
        _say(_report(ledger))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.writer")
    parser.add_argument("database", type=Path)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--mode", default="wal")
    parser.add_argument("--counter", type=int, default=0)
    parser.add_argument("--bulk-bytes", type=int, default=20_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with args.journal.open("a") as journal:
        try:
            ledger = Ledger(
                args.database, journal, mode=args.mode, counter=args.counter, bulk_bytes=args.bulk_bytes
            )
            _say(_report(ledger))
            serve(ledger, Random(args.seed))
        except sqlite3.Error as e:
            _say({"error": f"{type(e).__name__}: {e}"})
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
