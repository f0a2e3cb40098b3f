"""Structured logs: one line per unit of work.

- Events are `noun.verb_past`, listed in `Event` and nowhere else; each says when, and with which keys.
- JSON lines on stdout when that is not a terminal, readable text when it is.
- Timestamps are ISO 8601 in UTC. Sizes are bytes, durations end in `_ms`.
- What is not plain data is not rendered: bytes appear as their length, any other object as the name of
  its type. So no contents and no key can slip into a log through a `repr`; callers spell values with `str`.
- Text is escaped so that a file name can neither forge a line nor drive a terminal.
- Tracebacks carry no local variables.
- Warnings of the libraries below us go the same way, as `library.warned`.
"""

import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from enum import Enum, StrEnum
from pathlib import PurePath
from types import ModuleType
from typing import Final, Literal, Protocol, TextIO, cast

from typing_extensions import override

# structlog takes in rich, where it is there, for tracebacks that syncd does not print: 3 MB of a daemon.
_HIDE_RICH: Final = "rich" not in sys.modules
if _HIDE_RICH:
    sys.modules["rich"] = cast("ModuleType", None)
import structlog  # noqa: E402
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger  # noqa: E402

if _HIDE_RICH:
    del sys.modules["rich"]

Format = Literal["auto", "json", "text"]
Level = Literal["debug", "info", "warning", "error"]

_QUIET_SECONDS: Final = 10.0
_MOST_TOLD: Final = 100
_FIRST: Final = ("timestamp", "level", "event")


class Log(Protocol):
    """Where code without a logger of its own reports what it met."""

    def __call__(self, event: "Event", /, **fields: object) -> None:
        """Record one event."""
        ...


class Event(StrEnum):
    """Every event that syncd logs: when, and the keys beside the bound `database` and `target`."""

    # The process has read its configuration: version, config, databases, targets.
    DAEMON_STARTED = "daemon.started"
    # The first position of every database is stored on a target: duration_ms.
    DAEMON_READY = "daemon.ready"
    # A signal asked for the end: signal, drain_ms.
    DAEMON_STOPPING = "daemon.stopping"
    # The last line of a clean end: duration_ms, waiting_bytes (left in the outbox for the next start).
    DAEMON_STOPPED = "daemon.stopped"
    # The wall clock jumped ahead, or back: by_ms. Order and age are told by positions; `--at` and retention
    # go by the wall clock.
    CLOCK_JUMPED = "clock.jumped"
    # SIGHUP, and the new configuration is in use: changed (dotted fields).
    CONFIG_RELOADED = "config.reloaded"
    # SIGHUP, but the file has problems; the old configuration stays: error.
    CONFIG_REJECTED = "config.rejected"
    # The configuration works, but deserves a thought: warning.
    CONFIG_QUESTIONED = "config.questioned"
    # The database's files are open: path, journal_mode, page_size, pages.
    SOURCE_OPENED = "source.opened"
    # The database's file is gone or unreadable; we keep looking: path, error, retry_ms.
    SOURCE_LOST = "source.lost"
    # Another file lies at the path: path, inode.
    SOURCE_REPLACED = "source.replaced"
    # No quiet moment to read a rollback-journal database: tries, retry_ms.
    SOURCE_BUSY = "source.busy"
    # Committed frames that SQLite's own recovery would lose: frames, first_frame.
    SOURCE_AT_RISK = "source.at_risk"
    # Database and shadow were compared page by page: reason, pages, changed_pages, duration_ms.
    SOURCE_COMPARED = "source.compared"
    # SQLite's quick_check found nothing in a copy of the shadow: pages, unchecked (tables), duration_ms.
    SOURCE_CHECKED = "source.checked"
    # It found something, so the application's own file is damaged: problems, pages, duration_ms.
    SOURCE_CORRUPT = "source.corrupt"
    # The first copy into the shadow is complete: pages, bytes, duration_ms.
    SOURCE_COPIED = "source.copied"
    # The WAL is held against a reset, since the application outruns us: frames.
    SOURCE_GUARDED = "source.guarded"
    # The WAL may be reset again: frames, duration_ms.
    SOURCE_RELEASED = "source.released"
    # Commits were not seen (reset, truncation, downtime); a comparison follows: reason, commits.
    FRAMES_LOST = "frames.lost"
    # One delta is sealed and in the outbox: seq, pages, bytes, sealed_bytes, commits, duration_ms.
    DELTA_SEALED = "delta.sealed"
    # More waited than the outbox may hold; targets that are behind take a snapshot instead: deltas,
    # limit_bytes.
    OUTBOX_TRIMMED = "outbox.trimmed"
    # Consecutive deltas are on a target: first_seq, last_seq, bytes, lag_ms, duration_ms.
    DELTAS_STORED = "deltas.stored"
    # A snapshot begins: target, seq, pages, changed and moved (pages to be shipped), reason.
    SNAPSHOT_STARTED = "snapshot.started"
    # A snapshot is complete on a target: target, seq, pages, packs and bytes (shipped), duration_ms.
    SNAPSHOT_STORED = "snapshot.stored"
    # A job of the calendar failed; without retry_ms it waits for its next time: job, error, retry_ms.
    JOB_FAILED = "job.failed"
    # A drill restored what it had to: kind (restore or self-test), generation, seq, bytes, duration_ms.
    DRILL_PASSED = "drill.passed"
    # A drill did not: kind, generation, seq, bytes, duration_ms, error.
    DRILL_FAILED = "drill.failed"
    # A prune begins: dry_run.
    PRUNE_STARTED = "prune.started"
    # It is complete: dry_run, tombstoned, removed, bytes (removed), kept (objects), duration_ms.
    PRUNE_FINISHED = "prune.finished"
    # It ended early (clock, damaged mark, store); the next one takes it up again: error.
    PRUNE_STOPPED = "prune.stopped"
    # A new unbroken chain begins: generation, reason.
    GENERATION_STARTED = "generation.started"
    # A new epoch key is wrapped for the recipients: generation, epoch, recipients (how many).
    EPOCH_STARTED = "epoch.started"
    # A target did not do what it was asked; another try follows: error, retry_ms, waiting_bytes.
    TARGET_FAILED = "target.failed"
    # A call to a target has no answer yet; it waits on: target, call, waited_ms.
    TARGET_SLOW = "target.slow"
    # A target works again: failures, duration_ms (of the outage).
    TARGET_RECOVERED = "target.recovered"
    # A target said no, or cannot promise create-once; someone must act: error, hint, retry_ms.
    TARGET_REFUSED = "target.refused"
    # Another daemon writes to the same archive, or holds the claim to it: error.
    TARGET_CONFLICTED = "target.conflicted"
    # From now on this daemon is the one that writes there: target, claim (its number), generation.
    TARGET_CLAIMED = "target.claimed"
    # A copy of this state writes there too, in a generation of its own: target, claim, generation, host.
    TARGET_SHARED = "target.shared"
    # An archive was taken over from other daemons: target, claim, closed (generations), left (not closed).
    TARGET_TAKEN_OVER = "target.taken_over"
    # Nothing was to be shipped for the interval of heartbeats, and one was stored: target, seq.
    TARGET_BEAT = "target.beat"
    # The newest objects that the target acknowledged are gone; it begins again with a snapshot: target,
    # missing, head (what it acknowledged last).
    TARGET_ROLLED_BACK = "target.rolled_back"
    # Objects behind the newest snapshot that the target acknowledged are gone: positions between are lost
    # there, and the next snapshot leads on. Epochs among them are stored again: target, missing.
    TARGET_LOST = "target.lost"
    # After a crash, pages were brought from the outbox to the shadow: seq, pages.
    REDO_REPLAYED = "redo.replayed"
    # syncd's own state failed; it is closed and opened again: error, retry_ms.
    STATE_FAILED = "state.failed"
    # A database's work ended unexpectedly (no memory, say); it begins anew: error, retry_ms, exception.
    DATABASE_FAILED = "database.failed"
    # A library below us logged a warning or an error, which is told once in 10 s: library, message.
    LIBRARY_WARNED = "library.warned"


_WARNINGS: Final = frozenset(
    {
        Event.CONFIG_REJECTED,
        Event.CONFIG_QUESTIONED,
        Event.CLOCK_JUMPED,
        Event.SOURCE_LOST,
        Event.SOURCE_BUSY,
        Event.SOURCE_AT_RISK,
        Event.FRAMES_LOST,
        Event.TARGET_FAILED,
        Event.TARGET_SLOW,
        Event.TARGET_SHARED,
        Event.JOB_FAILED,
        Event.OUTBOX_TRIMMED,
    }
)
_ERRORS: Final = frozenset(
    {
        Event.TARGET_REFUSED,
        Event.TARGET_CONFLICTED,
        Event.TARGET_ROLLED_BACK,
        Event.TARGET_LOST,
        Event.STATE_FAILED,
        Event.DATABASE_FAILED,
        Event.PRUNE_STOPPED,
        Event.DRILL_FAILED,
        Event.SOURCE_CORRUPT,
    }
)


def configure(fmt: Format = "auto", level: Level = "info", *, stream: TextIO | None = None) -> None:
    """Send all events of at least `level` to `stream` (default: stdout as it is now). May be called again."""
    out = sys.stdout if stream is None else stream
    text = fmt == "text" or (fmt == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            keep_plain_data,
            _text_renderer(colors=out.isatty()) if text else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        # A reload may change the level of loggers that modules keep.
        cache_logger_on_first_use=False,
    )
    _forward_library_warnings()


def get_logger(**bound: object) -> FilteringBoundLogger:
    """A logger whose every line carries `bound`.

    It follows every later `configure`; what `bind` makes of it keeps the level of that moment.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(**bound))


def logger_for(**bound: object) -> Log:
    """A Log that chooses the level by the event."""
    logger = get_logger(**bound)

    def log(event: Event, /, **fields: object) -> None:
        if event in _ERRORS:
            logger.error(event, **fields)
        elif event in _WARNINGS:
            logger.warning(event, **fields)
        else:
            logger.info(event, **fields)

    return log


def keep_plain_data(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that lets nothing but plain data through, in a stable order of keys."""
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    return {_text(key): _plain(value) for key, value in ordered.items()}


def _plain(value: object) -> object:
    match value:
        case Enum():
            return _plain(value.value)
        case Mapping():
            return {
                _text(key) if isinstance(key, str) else str(_plain(key)): _plain(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return _scalar(value)


def _scalar(value: object) -> object:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str() | PurePath():
            return _text(str(value))
        case BaseException():
            return _text(f"{type(value).__name__}: {value}")
        case bytes() | bytearray() | memoryview():
            return f"<{memoryview(value).nbytes} bytes>"
        case _:
            return f"<{type(value).__name__}>"


def _text(value: str) -> str:
    if value.isprintable():
        return str(value)
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in value
    )


def _text_renderer(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
    )


class _LibraryHandler(logging.Handler):
    """Turns records of the standard library's logging into events.

    The same text again within `_QUIET_SECONDS` is left out: asyncio repeats itself a hundred times a second
    where no descriptor is free.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._told: dict[str, float] = {}

    @override
    def emit(self, record: logging.LogRecord) -> None:
        logger = get_logger(library=record.name)
        method = logger.error if record.levelno >= logging.ERROR else logger.warning
        try:
            message, now = record.getMessage(), time.monotonic()
            if now - self._told.get(message, -math.inf) < _QUIET_SECONDS:
                return
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told[message] = now
            method(Event.LIBRARY_WARNED, message=message)
        except Exception:  # noqa: BLE001 -- a library's malformed log call must not end its work
            self.handleError(record)


def _forward_library_warnings() -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _LibraryHandler):
            root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logging.WARNING))
