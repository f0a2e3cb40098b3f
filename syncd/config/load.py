"""From a file to a Config, with every problem reported at once.

- `find` decides which file: the one that was named, `$SYNCD_CONFIG`, `./syncd.toml`, `/etc/syncd/syncd.toml`.
- `load` reads it; `parse` takes tables that are read already. Both raise ConfigError and nothing else.
- Reading changes nothing, and looks at no file but the configuration: `check_private` is for the start of
  the daemon.
"""

import os
import shlex
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from syncd.config.model import Config
from syncd.config.problems import Problem, from_pydantic
from syncd.config.relations import check_relations
from syncd.errors import ConfigError

VARIABLE: Final = "SYNCD_CONFIG"
SEARCHED: Final = (Path("syncd.toml"), Path("/etc/syncd/syncd.toml"))
_MAX_SIZE: Final = 1 << 20  # a configuration has a few kB; someone named the wrong file


def find(explicit: Path | None, *, searched: tuple[Path, ...] = SEARCHED) -> Path:
    """The configuration to use. A file that was named need not exist: `load` says so better."""
    if explicit is not None:
        return explicit
    if named := os.environ.get(VARIABLE):
        return Path(named)
    for path in searched:
        if path.exists():
            return path
    raise ConfigError(
        f"no configuration: there is neither {' nor '.join(str(path) for path in searched)}",
        hint=f"name one with --config or ${VARIABLE}, or make one with: syncd init",
    )


def load(path: Path) -> Config:
    """Read a file. Raises ConfigError: unreadable, not TOML (with line and column), or its problems."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint="make one with: syncd init") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_SIZE:
        raise ConfigError(f"{path}: larger than 1 MiB, so not a configuration")
    try:
        tables = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        # tomllib's message ends in (at line 3, column 7).
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return parse(tables, name=str(path))


def parse(tables: Mapping[str, object], *, name: str = "configuration") -> Config:
    """Check tables as tomllib returns them. Raises ConfigError that lists every problem, one a line."""
    problems = check_relations(tables)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        problems = [*from_pydantic(error, Config), *problems]
    else:
        if not problems:
            return config
    raise ConfigError(_message(name, problems))


def check_private(path: Path, *, forbidden: int = 0o077) -> None:
    """Make sure that only the owner can reach a file or directory: none of the `forbidden` bits is set.

    Raises ConfigError with the command that mends it, or saying that there is nothing at `path`.
    """
    found = _stat(path)
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden:
        wanted = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise ConfigError(
            f"{path}: others can reach it (mode {mode:04o})",
            hint=f"run: chmod {wanted} {shlex.quote(str(path))}",
        )


def check_unwritable(path: Path) -> None:
    """Make sure that nobody but its owner can change a file: who can add a recipient can read everything.

    Raises ConfigError as `check_private` does.
    """
    mode = stat.S_IMODE(_stat(path).st_mode)
    if mode & 0o022:
        raise ConfigError(
            f"{path}: others can change it (mode {mode:04o})",
            hint=f"run: chmod go-w {shlex.quote(str(path))}",
        )


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _message(name: str, problems: list[Problem]) -> str:
    unique = list(dict.fromkeys(problems))
    count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
    return "\n".join([f"{name}: {count}", *(f"  {problem}" for problem in unique)])
