"""The application of the kill campaign: it changes its pace, its size and its mind.

    python -m tests.campaigns.talker DB LOG [--seed 0] [--messages 2000]

- First it fills a new database with `--messages`, in one transaction.
- Every transaction keeps three counts equal: the newest id, the sum over the rooms, and one total; ids are
  contiguous from the oldest message that is kept. A torn state shows in one of them.
- Phases, by the seed: a moderate pace, full speed for a moment, one transaction much larger than a batch,
  the last connection closed and opened again, a VACUUM, silence.
- `LOG` has a line `newest-id oldest-id` for each commit, written right after it.
- The first line on stdin ends the writing; the database stays open until stdin ends.
- It knows nothing of syncd.
"""

import argparse
import json
import os
import random
import select
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TextIO

from syncd.cli.chatapp import VOCABULARY

SCHEMA = """
CREATE TABLE messages(
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL, body TEXT NOT NULL, edits INTEGER NOT NULL);
CREATE INDEX by_room ON messages(room, id);
CREATE TABLE rooms(id INTEGER PRIMARY KEY, posted INTEGER NOT NULL);
CREATE TABLE total(one INTEGER PRIMARY KEY CHECK (one = 1), posted INTEGER NOT NULL);
INSERT INTO total VALUES (1, 0);
"""
ROOMS = 40
KEPT = 6000
LARGE = 1500
WORDS = VOCABULARY.split()


class Talker:
    """One connection at a time, and what it wrote."""

    def __init__(self, path: str, log: TextIO, seed: int) -> None:
        self._path = path
        self._log = log
        self._rng = random.Random(seed)
        self._conn = self._connect()
        self._newest = self._oldest = 0

    def fill(self, messages: int) -> None:
        self._conn.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        self.post(messages)

    def post(self, count: int) -> None:
        """One transaction: `count` messages, some edits, and the oldest ones go."""
        rng, execute = self._rng, self._conn.execute
        execute("BEGIN IMMEDIATE")
        for _ in range(count):
            self._newest += 1
            room = min(int(rng.paretovariate(0.8)), ROOMS)
            body = " ".join(rng.choices(WORDS, k=rng.randint(3, 30)))
            execute("INSERT INTO messages VALUES (?, ?, ?, 0)", (self._newest, room, body))
            execute("INSERT INTO rooms VALUES (?, 1) ON CONFLICT DO UPDATE SET posted = posted + 1", (room,))
        self._oldest = max(1, self._oldest, self._newest - KEPT + 1)
        execute("DELETE FROM messages WHERE id < ?", (self._oldest,))
        if rng.random() < 0.1:
            edited = rng.randint(self._oldest, self._newest)
            execute("UPDATE messages SET edits = edits + 1, body = body || '*' WHERE id = ?", (edited,))
        execute("UPDATE total SET posted = posted + ?", (count,))
        execute("COMMIT")
        self._log.write(f"{self._newest} {self._oldest}\n")
        self._log.flush()

    def phase(self) -> tuple[str, float]:
        """What comes next, and for how many seconds."""
        names = ("steady", "full", "large", "reopen", "vacuum", "silent")
        name = self._rng.choices(names, weights=(12, 3, 2, 2, 0.5, 2))[0]
        longest = {"steady": 4.0, "full": 0.3, "silent": 2.0}.get(name, 0.0)
        return name, self._rng.uniform(0.1, longest) if longest else 0.0

    def talk(self) -> None:
        """Phase after phase, until stdin says something or ends."""
        while True:
            name, seconds = self.phase()
            if name == "large":
                self.post(LARGE)
            elif name == "vacuum":
                self._conn.execute("VACUUM")
            elif name == "reopen":
                self.close()
                self._conn = self._connect()
            rate = self._rng.choice((20, 100, 300)) if name == "steady" else 0
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                if name != "silent":
                    self.post(1)
                if _told(1 / rate if rate else 0.0 if name == "full" else left):
                    return
            if _told(0.0):
                return

    def report(self) -> None:
        print(json.dumps({"newest": self._newest, "oldest": self._oldest}), flush=True)

    def close(self) -> None:
        self._conn.close()

    def _connect(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self._path, isolation_level=None)
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        return conn


def _told(seconds: float) -> bool:
    return bool(select.select([0], [], [], seconds)[0])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.talker")
    parser.add_argument("db")
    parser.add_argument("log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--messages", type=int, default=2000)
    args = parser.parse_args()
    with args.log.open("w") as log:
        talker = Talker(args.db, log, args.seed)
        with closing(talker):
            talker.fill(args.messages)
            talker.report()
            talker.talk()
            talker.report()
            os.read(0, 4096)
            while os.read(0, 4096):
                pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
