"""A random history: a process that makes a database and changes it in every way that SQLite offers.

    python -m tests.histories.writer DIR SEED [--allow dml,crash,...] [--deny ...] [--page-size N]
                                              [--reserved N] [--journal MODE]

One JSON object per line on stdin, one answer per line on stdout:

- (at the start)               `{"ok": true, "db": PATH}`; the database does not exist yet
- `{"do": "open"}`             make sure that the application runs and its database exists
- `{"do": "run", "steps": N}`  N random operations, of `"allow": [...]` only if that is given
                               -> `{"ok", "ops", "skipped", "busy", "state"}`
- `{"do": "op", "names": []}`  these operations, in order -> the same
- `{"do": "truth", "to": P}`   the committed database into file P
                               -> `{"exists", "sha256", "bytes", "page_size", "journal_mode", "how",
                               "hot_journal"}`
- `{"do": "close"}`            the application closes in order; the next operation opens it again
- `{"do": "quit"}`             the same, and the end; so does the end of stdin

`allow` and `deny` take names of groups and of operations (`registry.GROUPS`). Between answers no write
transaction is open. `state` is "open", "closed" or "crashed" (killed, and not opened since); where a process
was killed in a transaction, a hot journal can lie there in any of them. `skipped` names operations that made
no sense just then, `busy` those that somebody's lock prevented. The same seed and the same commands give the
same history. After an `"ok": false` (with "error") the history is over.
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from random import Random
from typing import Any, TextIO

from tests.histories.app import OPS
from tests.histories.life import LIFE, Life
from tests.histories.process import ChildFailed, Message
from tests.histories.registry import GROUPS


class History:
    """The protocol: picks operations and lets the Life run them."""

    def __init__(self, life: Life, rng: Random) -> None:
        self.life = life
        self._rng = rng

    def command(self, request: Message) -> Message:
        """Obey one request."""
        match request["do"]:
            case "open":
                self.life.main()
                return {"state": self.life.state}
            case "run":
                allow = frozenset(request.get("allow", self.life.allow))
                return self._run(self._draw(allow) for _ in range(request["steps"]))
            case "op":
                return self._run(request["names"])
            case "truth":
                return self.life.truth(Path(request["to"]))
            case "close" | "quit":
                self.life.close()
                return {"state": self.life.state}
            case other:
                return {"ok": False, "error": f"unknown command {other!r}"}

    def _draw(self, allow: Collection[str]) -> str:
        weights = {**LIFE.weights(allow), **OPS.weights(allow)}
        return self._rng.choices(list(weights), list(weights.values()))[0]

    def _run(self, names: Iterable[str]) -> Message:
        outcomes: dict[str, list[str]] = {"done": [], "skipped": [], "busy": []}
        for name in names:
            outcomes[self.life.run(name, self._rng.getrandbits(64))].append(name)
        self.life.settle()
        done, skipped, busy = outcomes.values()
        return {"ops": done, "skipped": skipped, "busy": busy, "state": self.life.state}


def serve(history: History, requests: TextIO, answers: TextIO) -> int:
    """Obey until told to quit; 1 when the history broke."""

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    answer(ok=True, db=str(history.life.path))
    for line in requests:
        request = json.loads(line)
        try:
            answer(**{"ok": True, **history.command(request)})
        except ChildFailed as error:
            answer(ok=False, error=str(error))
            return 1
        if request["do"] == "quit":
            return 0
    history.life.close()
    return 0


def words(text: str) -> frozenset[str]:
    """A comma-separated list of groups and operations."""
    found = frozenset(filter(None, text.split(",")))
    if unknown := found - {*GROUPS, *OPS.ops, *LIFE.ops}:
        raise argparse.ArgumentTypeError(f"no such group or operation: {', '.join(sorted(unknown))}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.histories.writer")
    parser.add_argument("dir", type=Path)
    parser.add_argument("seed")
    parser.add_argument("--allow", type=words, default=frozenset(GROUPS))
    parser.add_argument("--deny", type=words, default=frozenset())
    parser.add_argument("--page-size", type=int)
    parser.add_argument("--reserved", type=int)
    parser.add_argument("--journal", choices=("wal", "delete", "truncate", "persist", "memory"))
    args = parser.parse_args()
    pinned = {"page_size": args.page_size, "reserved": args.reserved, "journal": args.journal}
    life = Life(args.dir / "app.db", args.allow, args.deny, pinned)
    return serve(History(life, Random(args.seed)), sys.stdin, sys.stdout)


if __name__ == "__main__":
    raise SystemExit(main())
