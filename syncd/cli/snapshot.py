"""`syncd snapshot`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from syncd.cli.output import print_json, print_table, size_text
from syncd.cli.places import database_in
from syncd.clock import SystemClock
from syncd.config import find, load
from syncd.control import ask
from syncd.daemon import Daemon
from syncd.errors import ConfigError
from syncd.log import configure


def run_snapshot(config: Path | None, name: str, target: str | None, *, whole: bool, as_json: bool) -> None:
    """Have the daemon take a snapshot, or take one ourselves where none runs. Raises SyncdError."""
    path = find(config)
    settings = load(path)
    database_in(settings, name)
    if target is not None and target not in settings.targets_of(name):
        raise ConfigError(
            f"{name} has no target {target!r}", hint=f"it has {', '.join(settings.targets_of(name))}"
        )
    request: dict[str, object] = {"command": "snapshot", "database": name, "target": target, "whole": whole}
    answer: Any = ask(settings.state_dir, request)
    if answer is None:
        configure("text", "warning", stream=sys.stderr)
        daemon = Daemon(settings, path=path, clock=SystemClock())
        answer = asyncio.run(daemon.snapshot(name, target, whole=whole))
    if as_json:
        print_json(answer)
        return
    print_table(
        f"snapshot of {name}",
        ("target", "seq", "pages", "changed", "moved", "packs", "shipped"),
        [_row(each["target"], each["snapshot"]) for each in answer],
    )


def _row(target: str, snapshot: dict[str, Any] | None) -> tuple[str, ...]:
    if snapshot is None:
        return (target, "nothing new since the last one", "", "", "", "", "")
    return (
        target,
        *(str(snapshot[field]) for field in ("seq", "pages", "changed", "moved", "packs")),
        size_text(snapshot["bytes"]),
    )
