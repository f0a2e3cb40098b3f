"""What the doctor's measurements mean. Values in, a finding out.

- A failure is what loses data, shows it to others, or keeps a backup from being made or restored.
- A warning is what may come to that, or could not be found out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from syncd.model import format_time
from syncd.state import Job

_GROUP_WRITE, _OTHER_READ, _OTHER_WRITE = 0o020, 0o004, 0o002
_MIB: Final = 1 << 20
_DAY_MS: Final = 86_400_000
_KIT_DAYS: Final = 100
# A log is checkpointed every 4 MiB by default: one of this size, and as large as the database, is stuck.
_LARGE_WAL: Final = 64 * _MIB
_WAL_RESET: Final = (3, 7, 0)
_FIXED: Final = (3, 51, 3)
_FIXED_BRANCHES: Final = {(3, 44): 6, (3, 50): 7}
_ADVICE: Final = "https://sqlite.org/wal.html#walresetbug: use 3.51.3, 3.50.7, 3.44.6 or later"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at (`subject`: a database, a target, a file), what was found, what to do."""

    subject: str
    level: Level
    what: str
    advice: str = ""


def ok(subject: str, what: str) -> Finding:
    """As it should be."""
    return Finding(subject, Level.OK, what)


def warning(subject: str, what: str, advice: str) -> Finding:
    """Deserves attention."""
    return Finding(subject, Level.WARNING, what, advice)


def failure(subject: str, what: str, advice: str) -> Finding:
    """Must be mended."""
    return Finding(subject, Level.FAILURE, what, advice)


def of_configuration(path: str, mode: int) -> Finding:
    """The mode of the configuration, which says where everything goes."""
    if mode & (_GROUP_WRITE | _OTHER_WRITE):
        return failure(path, f"others may write to it (mode {mode & 0o777:04o})", f"chmod go-w {path}")
    return ok(path, "only its owner may write to it")


def of_database_mode(path: str, mode: int) -> Finding:
    """The mode of the application's database: the backup is sealed, the original may lie open."""
    text = f"(mode {mode & 0o777:04o})"
    if mode & _OTHER_WRITE:
        return failure(path, f"every user of this host may change it {text}", f"chmod o-rw {path}")
    if mode & _OTHER_READ:
        return warning(
            path,
            f"every user of this host may read it {text}",
            f"chmod o-r {path}, and let syncd in by an access control list: see systemd/syncd.service",
        )
    return ok(path, "not open to every user of this host")


def of_journal(path: str, *, wal: bool) -> Finding:
    """The journal mode, from the database's header."""
    if wal:
        return ok(path, "journal mode WAL")
    return warning(
        path,
        "not in WAL mode: a look at it has to wait for a moment in which nobody writes",
        "PRAGMA journal_mode = WAL, once, if the application allows",
    )


def of_wal(path: str, wal_bytes: int, database_bytes: int) -> Finding:
    """The log's size beside the database's, both in bytes."""
    if wal_bytes > max(_LARGE_WAL, database_bytes):
        return warning(
            f"{path}-wal",
            f"{wal_bytes // _MIB} MiB, more than the database: it is not checkpointed",
            "look for a connection of the application that never ends its transaction",
        )
    return ok(f"{path}-wal", f"{wal_bytes / _MIB:.1f} MiB")


def has_wal_reset_bug(version: Sequence[int]) -> bool:
    """Whether this version can damage a database in WAL mode (sqlite.org/wal.html#walresetbug)."""
    release = tuple(version[:3])
    if release < _WAL_RESET or release >= _FIXED:
        return False
    least = _FIXED_BRANCHES.get((release[0], release[1]))
    return least is None or release[2] < least


def of_writer(path: str, number: int, *, wal: bool) -> Finding:
    """The SQLite that wrote the database last, by its header: 3051003 is 3.51.3."""
    version = (number // 1_000_000, number // 1000 % 1000, number % 1000)
    text = ".".join(map(str, version))
    if not number:
        return warning(path, "does not say which SQLite wrote it", f"if it is older than 3.51.3: {_ADVICE}")
    if wal and has_wal_reset_bug(version):
        return warning(
            path, f"last written by SQLite {text}, which can damage it where two connections write", _ADVICE
        )
    return ok(path, f"last written by SQLite {text}, without known bugs that damage")


def of_own_library(version: Sequence[int]) -> Finding:
    """The SQLite of this Python, which writes syncd's own state only: from one process, by one connection."""
    text = ".".join(map(str, version))
    if has_wal_reset_bug(version):
        return ok(
            "sqlite",
            f"this Python has {text}: its WAL-reset bug takes two writers, and only syncd's own state is"
            " written with it, by one",
        )
    return ok("sqlite", f"this Python has {text}, for syncd's own state")


def of_space(subject: str, free: int, needed: int) -> Finding:
    """Free space, and what is needed at least, both in bytes."""
    text = f"{free // _MIB} MiB free"
    if free < needed:
        return failure(subject, f"{text}, less than the {needed // _MIB} MiB that are needed", "make room")
    if free < 2 * needed:
        return warning(subject, f"{text}, less than twice what is needed", "make room, before it is full")
    return ok(subject, text)


def of_transport(target: str, url: str, endpoint: str) -> Finding:
    """Whether what travels is encrypted on the way."""
    parts = urlsplit(endpoint)
    if url.startswith("file:"):
        return ok(target, "a directory: nothing travels, unless it is mounted from elsewhere")
    if parts.scheme != "http":
        return ok(target, "encrypted in transit (https)")
    if parts.hostname in {"localhost", "127.0.0.1", "::1"}:
        return ok(target, "not encrypted in transit, but on this host only")
    return failure(
        target,
        f"{endpoint} is not encrypted: names, sizes and times show, and who listens can replay",
        "use https://",
    )


def of_retention(database: str, schedule: str) -> Finding:
    """Whether anything is ever deleted."""
    if schedule:
        return ok(database, f"pruned by the schedule {schedule!r}")
    return warning(
        database,
        "never pruned from here: [retention] schedule is off",
        "right where another host prunes; else everything is kept for ever",
    )


def of_jobs(database: str, jobs: Mapping[str, Job], now_ms: int) -> list[Finding]:
    """What the last runs of the calendar came to, and when the recovery kit was checked."""
    found = [_of_job(database, job) for job in jobs.values()]
    check = jobs.get("keys check")
    if check is None:
        found.append(
            warning(
                database,
                "nobody ever checked that the recovery kit opens what is stored",
                "syncd keys check, with the kit and its passphrase, where you keep them",
            )
        )
    elif now_ms - check.last_ms > _KIT_DAYS * _DAY_MS:
        found.append(
            warning(database, "the recovery kit was not checked for months", "syncd keys check, with the kit")
        )
    return found


def _of_job(database: str, job: Job) -> Finding:
    text = f"{job.name}: {job.detail}, {format_time(job.last_ms)}"
    return ok(database, text) if job.ok else failure(database, f"failed: {text}", "see `syncd status`")
