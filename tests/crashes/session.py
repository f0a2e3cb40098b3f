"""`python -m tests.crashes.session DIRECTORY`: a life of syncd in one process, to be recorded.

- `DIRECTORY/own` is what syncd writes: configuration, keys, state, archive, restored files.
- `DIRECTORY/app` has the application's database, and a copy of it for each step: `1.db`, `2.db`, ...
- Limits are small: a change comes in pieces, the redo is trimmed while changes come.
- stdout has syncd's own log, and a line `ack WORD ...` whenever a command has ended well.
"""

import asyncio
import contextlib
import io
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console

from syncd.cli import app
from syncd.cli.init import init
from syncd.clock import SystemClock
from syncd.config import load
from syncd.config.secrets import read_signing_key
from syncd.envelope.identity import Argon2Params
from syncd.errors import StoreUnavailable
from syncd.log import logger_for
from syncd.policy.retention import Retention
from syncd.prune import prune
from syncd.ship import Shipper
from syncd.store.directory import DirectoryStore
from tests.crashes.scenario import small

NAME: Final = "chat"
PASSPHRASE: Final = "correct horse battery staple"
_CHEAP: Final = Argon2Params(memory_kib=64, iterations=1, lanes=1)
_POLICY: Final = Retention(pitr_ms=1, daily=1, minimum=1, max_share=1.0)
_SIDES: Final = ("-wal", "-shm", "-journal")


class Session:
    """One after the other, what an operator and the time do."""

    def __init__(self, directory: Path, recipient: str) -> None:
        self.own = directory / "own"
        self.app = directory / "app"
        self.database = self.app / "chat.db"
        self.recipient = recipient
        self._step = 0

    def play(self) -> None:
        self._init()
        self._write(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)", "INSERT INTO t (a) VALUES (randomblob(60000))"
        )
        self._once()
        for _ in range(2):
            self._write("INSERT INTO t (a) VALUES (randomblob(9000))")
            self._once()
        self._snapshot()
        self._write("UPDATE t SET a = randomblob(30000)", "DELETE FROM t WHERE id = 2", "VACUUM")
        self._once()
        self._run("keys", "add", self.recipient)
        self._ack("recipient")
        self._write("INSERT INTO t (a) VALUES (randomblob(3000))")
        self._once()
        self._write("INSERT INTO t (a) VALUES (randomblob(3000))")
        self._fail_to_ship()
        self._write("INSERT INTO t (a) VALUES (randomblob(3000))")
        self._once()
        self._restore("new.db")
        for suffix in ("", *_SIDES):
            (self.own / f"forced.db{suffix}").write_bytes(b"older")
        os.sync()
        self._restore("forced.db", "--force")
        self._snapshot()
        self._prune()
        self._write("INSERT INTO t (a) VALUES (randomblob(3000))")
        self._once()

    def _init(self) -> None:
        init(
            self.own / "syncd.toml",
            name=NAME,
            database=self.database,
            target=(self.own / "archive").as_uri(),
            kit=self.own / "kit.txt",
            passphrase_file=self.app / "passphrase",
            console=Console(file=io.StringIO()),
            params=_CHEAP,
        )
        self._ack("init")

    def _write(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
        self._step += 1
        (self.app / f"{self._step}.db").write_bytes(self.database.read_bytes())
        print(f"ack wrote {self._step}", flush=True)

    def _once(self) -> None:
        self._run("run", "--once")
        self._ack("once", str(self._step))

    def _fail_to_ship(self) -> None:
        """What is sealed stays in the outbox."""
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(StoreUnavailable):
            patch.setattr(Shipper, "ship", _unreachable)
            self._run("run", "--once")
        self._ack("failed")

    def _snapshot(self) -> None:
        self._run("snapshot", NAME)
        self._ack("snapshot", str(self._step))

    def _restore(self, name: str, *options: str) -> None:
        to, passphrase = str(self.own / name), str(self.app / "passphrase")
        kit = str(self.own / "kit.txt")
        self._run("restore", NAME, "--to", to, "--identity", kit, "--passphrase-file", passphrase, *options)
        self._ack("restored", name, str(self._step))

    def _prune(self) -> None:
        verify_key = read_signing_key(load(self.own / "syncd.toml").keys).verify_key
        self._ack("pruning")
        for _ in range(2):
            store = DirectoryStore(self.own / "archive" / NAME)
            asyncio.run(
                prune(
                    store,
                    database=NAME,
                    retention=_POLICY,
                    grace_ms=0,
                    clock=SystemClock(),
                    log=logger_for(),
                    verify_key=verify_key,
                    dry_run=False,
                )
            )

    def _run(self, *arguments: str) -> None:
        app([*arguments, "--config", str(self.own / "syncd.toml")], standalone_mode=False)

    @staticmethod
    def _ack(*words: str) -> None:
        print("ack", *words, flush=True)


async def _unreachable(_: Shipper) -> None:
    raise StoreUnavailable("nobody answers")


if __name__ == "__main__":
    with small():
        Session(Path(sys.argv[1]), sys.argv[2]).play()
