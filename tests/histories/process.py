"""The application as a child process that can be killed.

- Children are forked, so a history of hundreds of openings stays cheap; the parent never holds a SQLite
  connection, which must not be carried across a fork.
- A child that loses its parent ends at once, as if killed.
"""

import hashlib
import os
import signal
import sqlite3
import traceback
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

# Imported for the operations that they register.
from tests.histories import admin, ops
from tests.histories.app import OPS, App, Opening
from tests.histories.registry import NotNow

REGISTERED = (admin, ops)
ANSWER_WITHIN = 120.0
FORK = get_context("fork")
Message = dict[str, Any]


class ChildFailed(Exception):
    """The application's process raised something that no history should; the text is its traceback."""


class Child:
    """The parent's handle of one application process."""

    def __init__(self, path: Path, opening: Opening, siblings: list["Child"]) -> None:
        self._pipe, theirs = FORK.Pipe()
        inherited = [self._pipe, *(sibling._pipe for sibling in siblings)]
        self._process = FORK.Process(target=serve, args=(theirs, inherited, path, opening), daemon=True)
        self._process.start()
        theirs.close()
        self.state: Message = {}
        self._answer()

    def call(self, **request: Any) -> Message:
        """Send a request, wait for its answer, remember the state that comes with it."""
        self._pipe.send(request)
        return self._answer()

    def kill(self) -> None:
        """End the process without any clean-up, and wait until it is gone with its locks."""
        self._process.kill()
        self._gone()

    def close(self) -> None:
        """Let the application close its connections, and end."""
        self.call(do="close")
        self._gone()

    def _answer(self) -> Message:
        if not self._pipe.poll(ANSWER_WITHIN):
            raise ChildFailed("no answer")
        answer: Message = self._pipe.recv()
        if "error" in answer:
            raise ChildFailed(answer["error"])
        self.state = answer.get("state", self.state)
        return answer

    def _gone(self) -> None:
        self._process.join(ANSWER_WITHIN)
        self._pipe.close()


def serve(pipe: Connection, inherited: list[Connection], path: Path, opening: Opening) -> None:
    """The child: open, obey, until told to close or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which closes us in order
    for end in inherited:  # else a killed parent would never be noticed: a sibling would hold its pipe open
        end.close()
    try:
        app = App(path, opening)
        pipe.send({"state": state(app)})
        while True:
            request = pipe.recv()
            pipe.send(obey(app, request))
            if request["do"] == "close":
                return
    except EOFError:
        os._exit(1)
    except Exception:  # noqa: BLE001 - whatever it was, the parent must hear of it
        pipe.send({"error": traceback.format_exc()})
        os._exit(1)


def obey(app: App, request: Message) -> Message:
    """One request. `run` answers with the outcome: done, skipped, or busy."""
    match request["do"]:
        case "run":
            outcome = attempt(app, request["name"], request["seed"])
            assert not app.conn.in_transaction
            return {"outcome": outcome, "state": state(app)}
        case "settle":
            app.release_reader()
        case "abandon":
            app.abandon(request["seed"])
        case "truth":
            image = app.image()
            Path(request["to"]).write_bytes(image)
            return {"sha256": hashlib.sha256(image).hexdigest()}
        case "close":
            app.close()
        case other:
            raise AssertionError(other)
    return {}


def attempt(app: App, name: str, seed: int) -> str:
    app.rng = Random(seed)
    try:
        OPS.ops[name].run(app)
    except NotNow:
        return "skipped"
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            return "busy"
        raise
    return "done"


def state(app: App) -> Message:
    return {"journal_mode": app.journal_mode, "exclusive": app.exclusive}
