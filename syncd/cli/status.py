"""`syncd status`."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from syncd.cli.output import age_text, print_json, print_table, size_text
from syncd.clock import SystemClock
from syncd.config import Config, find, load
from syncd.control import ask
from syncd.errors import StateError, SyncdError
from syncd.model import format_time
from syncd.state import LOCK_FILE, STATE_FILE, Job, Status, TargetState, read_status

_PATIENCE: Final = 3.0  # seconds


def run_status(config: Path | None, *, as_json: bool) -> None:
    """Print how far everything is. Raises SyncdError."""
    settings = load(find(config))
    now_ms = SystemClock().now_ms()
    daemon, troubles = _ask(settings)
    report: dict[str, Any] = {
        "daemon": daemon,
        "databases": {name: _database(settings, name, now_ms) for name in settings.databases},
    }
    for trouble in troubles:
        if trouble["database"] in report["databases"]:
            report["databases"][trouble["database"]] |= {"state": "failing", "error": trouble["error"]}
    if as_json:
        print_json(report)
        return
    rows: list[tuple[str, ...]] = []
    for name, database in report["databases"].items():
        captured = database["captured"]
        rows.append(
            (
                name,
                "captured",
                database["state"],
                str(captured["seq"]) if captured else "-",
                age_text(captured["age_ms"]) if captured else "-",
                "",
                database["error"],
            )
        )
        for target, state in database["targets"].items():
            stored = state["stored"]
            rows.append(
                (
                    name,
                    target,
                    state["state"],
                    str(stored["seq"]) if stored else "-",
                    age_text(stored["age_ms"]) if stored else "-",
                    size_text(state["waiting_bytes"]),
                    _trouble(state),
                )
            )
        for job, outcome in database["jobs"].items():
            rows.append(
                (
                    name,
                    job,
                    "ok" if outcome["ok"] else "failed",
                    "",
                    age_text(outcome["age_ms"]),
                    "",
                    outcome["detail"],
                )
            )
    print_table(
        f"the daemon is {report['daemon']}",
        ("database", "where", "state", "seq", "age", "waiting", "last error, or what was done"),
        rows,
    )


def _database(settings: Config, name: str, now_ms: int) -> dict[str, Any]:
    path = settings.state_of(name) / STATE_FILE
    try:
        known = path.exists()
    except OSError as e:
        raise StateError(f"{path} cannot be read: {e.strerror}", hint="run it as the daemon's user") from e
    if not known:
        return {
            "path": str(settings.databases[name].path),
            "state": "never started",
            "error": "",
            "generation": None,
            "captured": None,
            "targets": {},
            "jobs": {},
        }
    status = read_status(path)
    return {
        "path": str(settings.databases[name].path),
        "state": status.source_state,
        "error": status.source_error,
        "generation": status.chain.generation if status.chain else None,
        "captured": _captured(status, now_ms),
        "targets": {target.name: _target(target, now_ms) for target in status.targets},
        "jobs": {job.name: _job(job, now_ms) for job in status.jobs},
    }


def _captured(status: Status, now_ms: int) -> dict[str, Any] | None:
    chain = status.chain
    if chain is None:
        return None
    return {
        "seq": chain.seq,
        "time": format_time(chain.captured_ms),
        "age_ms": max(0, now_ms - chain.captured_ms),
        "boundary": chain.boundary,
        "pages": chain.page_count,
        "page_size": chain.page_size,
    }


def _target(target: TargetState, now_ms: int) -> dict[str, Any]:
    stored = None
    if target.stored is not None and target.captured_ms is not None:
        stored = {
            "seq": target.stored,
            "time": format_time(target.captured_ms),
            "age_ms": max(0, now_ms - target.captured_ms),
            "stored_at": format_time(target.stored_ms or 0),
        }
    return {
        "url": target.url,
        "state": target.state,
        "stored": stored,
        "snapshot_seq": target.snapshot,
        "head": target.head or None,
        "waiting_bytes": target.waiting_bytes,
        "error": target.error,
        "error_at": format_time(target.error_ms) if target.error_ms else None,
        "beside": target.beside,
        "given_up": target.given_up,
    }


def _trouble(target: Mapping[str, Any]) -> str:
    """What the table says of a target in its last column."""
    lost = target["given_up"]
    given_up = f"{lost} deltas were given up, a snapshot will lead over them" if lost else ""
    return "; ".join(filter(None, (target["error"] or target["beside"], given_up)))


def _job(job: Job, now_ms: int) -> dict[str, Any]:
    return {
        "ok": job.ok,
        "last": format_time(job.last_ms),
        "age_ms": max(0, now_ms - job.last_ms),
        "detail": job.detail,
    }


def _ask(settings: Config) -> tuple[str, list[dict[str, str]]]:
    """Whether the daemon runs, in a word or two; and its troubles that its state may not tell."""
    if not _is_running(settings):
        return "stopped", []
    try:
        return "running", ask(settings.state_dir, {"command": "status"}, patience=_PATIENCE) or []
    except TimeoutError:
        return "not answering", []
    except (SyncdError, OSError, ValueError):  # it is just ending
        return "running", []


def _is_running(settings: Config) -> bool:
    """Whether a daemon holds the state directory."""
    try:
        fd = os.open(settings.state_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)
