"""How the two applications count: what their drivers sent, and what their databases hold of it."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

Counts = dict[str, int]


def synapse_sent(answer: Mapping[str, Any]) -> Counts:
    """Edits and files are events of type m.room.message as well; a redaction leaves its message's row."""
    counts = answer["counts"]
    return {
        "m.room.message": counts["msg"] + counts["edit"] + counts["media"],
        "m.room.redaction": counts["redact"],
        "m.reaction": counts["react"],
    }


def synapse_kept(database: Path) -> Counts:
    rows = _rows(
        database, "SELECT type, count(*) FROM events WHERE type IN (?, ?, ?) GROUP BY type", *_SYNAPSE_TYPES
    )
    return dict.fromkeys(_SYNAPSE_TYPES, 0) | dict(rows)


def thelounge_sent(answer: Mapping[str, Any]) -> Counts:
    """In the channel that is never cleared."""
    counts = answer["counts"]
    return {
        "message": counts["msg"] + counts["own"],
        "action": counts["action"],
        "notice": counts["notice"],
    }


def thelounge_kept(database: Path) -> Counts:
    rows = _rows(
        database,
        "SELECT type, count(*) FROM messages WHERE channel = '#drv' AND type IN (?, ?, ?) GROUP BY type",
        *_LOUNGE_TYPES,
    )
    return dict.fromkeys(_LOUNGE_TYPES, 0) | dict(rows)


_SYNAPSE_TYPES: Final = ("m.room.message", "m.room.redaction", "m.reaction")
_LOUNGE_TYPES: Final = ("message", "action", "notice")
SENT: Final[dict[str, Callable[[Mapping[str, Any]], Counts]]] = {
    "synapse": synapse_sent,
    "thelounge": thelounge_sent,
}
KEPT: Final[dict[str, Callable[[Path], Counts]]] = {"synapse": synapse_kept, "thelounge": thelounge_kept}


def _rows(database: Path, query: str, *values: str) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)) as conn:
        return conn.execute(query, values).fetchall()
