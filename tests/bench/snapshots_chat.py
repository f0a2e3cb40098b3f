"""The writer of a chat database that lives on: a large one, then days of it.

    python -m tests.bench.snapshots_chat DB --megabytes 2000
    python -m tests.bench.snapshots_chat DB --resume

- The schema and the talk of `restore_history`; every conversation has receipts from the start.
- Each line on stdin is one transaction: that many messages, as many receipts and as many edits, 9 of 10 of
  a message of about the last day, the others of any message. Its answer is the number of all messages.
  The end of stdin closes the database.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from syncd.cli.chatapp import SENDERS
from tests.bench.restore_history import _INSERT, _POST, _READ, CONVERSATIONS, History
from tests.campaigns.rig import ROOT

_CHUNK = 1000
_DAY = 0.01
_OLD = 0.1
_EDIT = "UPDATE messages SET body = ?, edited_at = ? WHERE id = ?"


class Chat(History):
    """The database, and what is written to it next."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path)
        self._rng = random.Random(seed)

    @property
    def messages(self) -> int:
        return self._last

    def resume(self) -> None:
        """Carry on with a database that an earlier one left."""
        (self._last,) = self.conn.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()

    def begin(self, megabytes: int) -> None:
        """As many messages as that makes, and what belongs to the conversations."""
        self.fill(megabytes)
        self.conn.execute("BEGIN")
        for room in range(CONVERSATIONS):
            self.conn.execute(_POST, (room, f"Room {room}", self._last, self._last))
            self.conn.executemany(_READ, [(room, sender, self._last, self._last) for sender in SENDERS])
        self.conn.execute("COMMIT")
        self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def write(self, messages: int) -> None:
        """One transaction."""
        self.conn.execute("BEGIN IMMEDIATE")
        for at in range(0, messages, _CHUNK):
            rows = list(self._rows(min(_CHUNK, messages - at)))
            self.conn.executemany(_INSERT, rows)
            self.conn.executemany(_POST, [(room, f"Room {room}", n, now) for n, room, _, _, now in rows])
            self.conn.executemany(
                _READ, [(room, self._rng.choice(SENDERS), n, now) for n, room, _, _, now in rows]
            )
            self.conn.executemany(_EDIT, [self._edit(now) for *_, now in rows])
        self.conn.execute("COMMIT")

    def _edit(self, now: int) -> tuple[str, int, int]:
        rng = self._rng
        if rng.random() < _OLD:
            number = rng.randint(1, self._last)
        else:
            number = max(1, self._last - int(rng.expovariate(1 / (_DAY * self._last))))
        return rng.choice(self._bodies), now, number


class Writer:
    """The process."""

    def __init__(self, database: Path, megabytes: int, seed: int, *, resume: bool) -> None:
        command = [sys.executable, "-m", "tests.bench.snapshots_chat", str(database)]
        command += ["--resume"] if resume else ["--megabytes", str(megabytes)]
        command += ["--seed", str(seed)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.messages = self._answer()

    def write(self, messages: int) -> None:
        """One transaction; returns when it is committed."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{messages}\n")
        self._process.stdin.flush()
        self.messages = self._answer()

    def close(self) -> None:
        try:
            self._process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the writer ended")
        return int(line)


@contextmanager
def writing(database: Path, *, megabytes: int, seed: int, resume: bool = False) -> Iterator[Writer]:
    """A new database of that size, or one that is there already."""
    writer = Writer(database, megabytes, seed, resume=resume)
    try:
        yield writer
    finally:
        writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.snapshots_chat")
    parser.add_argument("db", type=Path)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chat = Chat(args.db, args.seed)
    with closing(chat.conn):
        if args.resume:
            chat.resume()
        else:
            chat.begin(args.megabytes)
        print(chat.messages, flush=True)
        for line in sys.stdin:
            chat.write(int(line))
            print(chat.messages, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
