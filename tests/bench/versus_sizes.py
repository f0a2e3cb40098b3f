"""Scenarios about the database's size: a second snapshot, an absence, the first snapshot, a restore.

- The database is a chat's, of thousands of conversations, made once and copied for each run.
- Bytes are those of requests that were answered meanwhile; memory is the peak of the tool's process.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import restore as restores
from tests.bench.meter import tally
from tests.bench.restore import timed
from tests.bench.snapshots_chat import Writer, writing
from tests.bench.versus_steady import Record, answer, read_commits, restored, writer
from tests.bench.versus_tools import Commit, Tool

_ABSENT_SECONDS = 600
_AT_ONCE = 20  # messages in a transaction of the writer that makes up for the absence
_ENCRYPT = (
    "openssl enc -aes-256-ctr -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 00"
)


class Templates:
    """Databases of given sizes, each made at its first use; they lie in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, megabytes: int) -> Path:
        path = self._directory / f"{megabytes}.db"
        if not path.exists():
            with writing(path, megabytes=megabytes, seed=0):
                pass
        return path


def second_snapshot(tool: Tool, *, share: float) -> Record:
    """A full snapshot after `share` as many messages as there are were added, with what goes with them."""
    with tool, _resumed(tool) as chat:
        tool.start()
        size = tool.database.stat().st_size
        chat.write(round(share * chat.messages))
        tool.wait_level(_sentinel(tool))
        began = time.time()
        tool.snapshot()
        seconds = time.time() - began
        made = [each for each in tool.meter.requests() if tool.snapshot_names.search(f"/{each.name}")]
        first, second = tally(made, until=began), tally(made, began)
        return {"bytes": second.up, "first_bytes": first.up, "seconds": seconds, "database_bytes": size}


def absent(tool: Tool, *, rate: float) -> Record:
    """What is sent to catch up after ten minutes of messages without it; the WAL was reset meanwhile."""
    with tool, _resumed(tool) as chat:
        tool.start()
        tool.stop()
        messages = round(rate * _ABSENT_SECONDS)
        for _ in range(0, messages, _AT_ONCE):
            chat.write(_AT_ONCE)
        began = time.time()
        tool.start()
        tool.wait_level(_sentinel(tool))
        record = _sent(tool, began) | {"messages": messages, "peak_mb": tool.usage().peak_mb}
        tool.stop()
        return record | restored(tool)


def first(tool: Tool) -> Record:
    """From a database and no archive to a first snapshot of it; then a restore."""
    with tool:
        began = time.time()
        tool.start()
        usage = tool.usage()
        seconds = _last_answer(tool) - began
        record: Record = _sent(tool, began) | {
            "seconds": seconds,
            "snapshot_seconds": tool.snapshot_seconds() or seconds,
            "cpu_seconds": usage.cpu_seconds,
            "peak_mb": usage.peak_mb,
        }
        tool.stop()
        return record | restored(tool)


def compressed(directory: Path, database: Path) -> Record:
    """`zstd -3 -T2` of the file, and `openssl enc` of that."""
    to = directory / "encrypted"
    command = f'zstd -q -3 -T2 -c "$0" | {_ENCRYPT} > "$1" && sync "$1"'
    taken = timed(["sh", "-c", command, str(database), str(to)])
    seconds = float(taken["seconds"])
    sizes: Record = {"bytes": to.stat().st_size, "cpu_seconds": taken["cpu_seconds"]}
    return sizes | {"seconds": seconds, "snapshot_seconds": seconds}


def restore(directory: Path, *, megabytes: int, deltas: int, store: str) -> dict[str, Record]:
    """What `tests.bench.restore` measures, by who restored."""
    kind = "directory" if store == "file" else store
    rows = restores.measure(directory, megabytes=megabytes, deltas=deltas, stores=(kind,))
    names = {"syncd": "syncd", "litestream": "Litestream", "cp and sync": "cp and sync"}
    return {
        names[row["what"].partition(",")[0]]: {
            "seconds": row["seconds"],
            "peak_mb": row["peak_mb"],
            "cpu_seconds": row["cpu_seconds"],
            "right": row["identical"],
        }
        for row in rows
    }


def copy_of(template: Path, directory: Path) -> Path:
    """A database of its own, in an application's directory."""
    application = directory / "application"
    application.mkdir(parents=True)
    return shutil.copyfile(template, application / "chat.db")


@contextmanager
def _resumed(tool: Tool) -> Iterator[Writer]:
    with writing(tool.database, megabytes=0, seed=1, resume=True) as chat:
        yield chat


def _sentinel(tool: Tool) -> Commit:
    """The last commit, of which the place in the WAL is known."""
    log = tool.directory / "sentinel"
    with writer(tool.database, seconds=0.1, rate=20, log=log) as process:
        answer(process)
        return read_commits(log)[-1]


def _sent(tool: Tool, began: float) -> Record:
    sums = tally(tool.meter.requests(), began)
    return {"bytes": sums.up, "requests": sums.requests}


def _last_answer(tool: Tool) -> float:
    return max(each.at for each in tool.meter.requests() if tool.snapshot_names.search(f"/{each.name}"))
