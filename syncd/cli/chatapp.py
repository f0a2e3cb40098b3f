"""The small chat application of `syncd demo`: a process that writes a SQLite database as chat servers do.

    python -m syncd.cli.chatapp DB [--rate 50] [--seconds 15] [--seed 0] [--control]

- One transaction per message, at the given rate, by an absolute schedule: a slow commit is caught up.
- It prints JSON lines: progress every half second, then one with `"done": true` when the writing has ended.
- The writing ends after `--seconds` (0: no limit), at SIGTERM or SIGINT, and under `--control` at the
  first line on stdin or its end.
- Under `--control` the database then stays open until the second line or the end of stdin, so that the
  WAL is still there while somebody compares. A signal closes at once.
- It knows nothing of syncd and imports the standard library only.
"""

import argparse
import json
import os
import queue
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations(
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, last_message_id INTEGER, updated_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY, conversation_id INTEGER NOT NULL, sender TEXT NOT NULL, body TEXT NOT NULL,
    created_at INTEGER NOT NULL, edited_at INTEGER);
CREATE INDEX IF NOT EXISTS messages_by_conversation ON messages(conversation_id, created_at);
CREATE INDEX IF NOT EXISTS messages_by_sender ON messages(sender, id);
CREATE TABLE IF NOT EXISTS receipts(
    conversation_id INTEGER NOT NULL, reader TEXT NOT NULL, last_read_id INTEGER NOT NULL,
    read_at INTEGER NOT NULL, PRIMARY KEY (conversation_id, reader)) WITHOUT ROWID;
"""

VOCABULARY = """
the you to I and a it is that of in we for on have be was this are not with what can just so but at my they
will if like do me there all up one out now about get when your know see okay yes no think from or would
good time then how today tomorrow meeting coffee server deploy again after before maybe really thanks great
sure wait look back home call later works broken build ticket review photo link train late lunch dinner
friday monday morning evening question answer idea problem fixed release somebody anyone everything nothing
"""
WORDS = VOCABULARY.split()
SENDERS = [f"@{name}:example.org" for name in ("ada", "bob", "cleo", "dan", "eve", "finn", "gwen", "hugo")]
CONVERSATIONS = 200
RECENT = 50


def zipf(count: int) -> list[float]:
    """Cumulative weights 1/1, 1/2, ... 1/count: few are busy, many are quiet."""
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


class Chat:
    """One connection to the chat database; every method is one transaction."""

    def __init__(self, path: str, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - invented chat, not cryptography
        self._word_weights = zipf(len(WORDS))
        self._room_weights = zipf(CONVERSATIONS)
        self.conn = sqlite3.connect(path, isolation_level=None)
        self.conn.execute("PRAGMA journal_mode=WAL")
        self.conn.execute("PRAGMA synchronous=NORMAL")
        self.conn.executescript("BEGIN IMMEDIATE;" + SCHEMA + "COMMIT;")
        self._last_id: int = self.conn.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
        self.rows_before = self.conn.total_changes
        self.messages = 0

    def body(self) -> str:
        """A message of a few to some forty words, about 120 bytes in the middle."""
        count = min(60, max(2, round(self._rng.lognormvariate(3.25, 0.5))))
        return " ".join(self._rng.choices(WORDS, cum_weights=self._word_weights, k=count)).capitalize() + "."

    def post(self) -> None:
        """A message, and with it now and then what other people did meanwhile."""
        now = time.time_ns() // 1_000_000
        room = self._rng.choices(range(CONVERSATIONS), cum_weights=self._room_weights)[0]
        self.conn.execute("BEGIN IMMEDIATE")
        self._last_id += 1
        self.conn.execute(
            "INSERT INTO messages(id, conversation_id, sender, body, created_at) VALUES (?, ?, ?, ?, ?)",
            (self._last_id, room, self._rng.choice(SENDERS), self.body(), now),
        )
        self.conn.execute(
            "INSERT INTO conversations VALUES (?, ?, ?, ?) ON CONFLICT(id) DO UPDATE"
            " SET last_message_id = excluded.last_message_id, updated_at = excluded.updated_at",
            (room, f"Room {room}", self._last_id, now),
        )
        if self._rng.random() < 0.6:
            self._read(room, now)
        if self._rng.random() < 0.06:
            edit = (self.body(), now, self._recent())
            self.conn.execute("UPDATE messages SET body = ?, edited_at = ? WHERE id = ?", edit)
        if self._rng.random() < 0.02:
            self.conn.execute("DELETE FROM messages WHERE id = ?", (self._recent(),))
        self.conn.execute("COMMIT")
        self.messages += 1

    def _recent(self) -> int:
        return max(1, self._last_id - self._rng.randrange(RECENT))

    def _read(self, room: int, now: int) -> None:
        self.conn.execute(
            "INSERT INTO receipts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET last_read_id = excluded.last_read_id, read_at = excluded.read_at",
            (room, self._rng.choice(SENDERS), self._last_id, now),
        )


Event = Literal["line", "eof", "signal"]


class Inbox:
    """What the outside says, in order.

    A SimpleQueue because its `put` may interrupt its own `get`: signal handlers run in the very thread
    that waits there, and would deadlock on an Event's lock.
    """

    def __init__(self, *, control: bool) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put("signal"))
        if control:
            threading.Thread(target=self._read_stdin, daemon=True).start()

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event, or None after `timeout` seconds."""
        try:
            return self._events.get(timeout=None if timeout is None else max(0.0, timeout))
        except queue.Empty:
            return None

    def _read_stdin(self) -> None:
        # Not sys.stdin: a daemon thread inside a buffered reader makes the interpreter abort at exit.
        while data := os.read(0, 4096):
            for _ in range(data.count(b"\n")):
                self._events.put("line")
        self._events.put("eof")


def write(chat: Chat, inbox: Inbox, *, rate: float, seconds: float) -> Event | None:
    """Post at the absolute schedule until something ends it, and return what did (None: the time)."""
    start = time.monotonic()
    next_report = start + 0.5
    while True:
        due = start + chat.messages / rate
        now = time.monotonic()
        if seconds and max(now, due) >= start + seconds:
            return inbox.get(start + seconds - now)
        if event := inbox.get(min(due, next_report) - now):
            return event
        if time.monotonic() >= due:
            chat.post()
        if (now := time.monotonic()) >= next_report:
            report(chat, elapsed=round(now - start, 3))
            next_report += 0.5


def report(chat: Chat, **more: float) -> None:
    """One JSON line on stdout."""
    changed_rows = chat.conn.total_changes - chat.rows_before
    line = {"messages": chat.messages, "changed_rows": changed_rows, **more}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; see the module docstring."""
    parser = argparse.ArgumentParser(prog="python -m syncd.cli.chatapp")
    parser.add_argument("db", help="the database, created where it does not exist")
    parser.add_argument("--rate", type=float, default=50.0, help="messages per second")
    parser.add_argument("--seconds", type=float, default=15.0, help="0: until told to stop")
    parser.add_argument("--seed", type=int, default=0, help="of the invented talk")
    parser.add_argument("--control", action="store_true", help="obey stdin")
    args = parser.parse_args(argv)
    if args.rate <= 0:
        parser.error("--rate must be more than 0")
    inbox = Inbox(control=args.control)
    chat = Chat(args.db, args.seed)
    last = write(chat, inbox, rate=args.rate, seconds=args.seconds)
    report(chat, done=True)
    lines = int(last == "line")
    while args.control and lines < 2 and last not in {"eof", "signal"}:
        last = inbox.get()
        lines += last == "line"
    chat.conn.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
