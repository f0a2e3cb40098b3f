"""What the doctor sees on this host: files, the databases, syncd's state. Reads only."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from syncd.config import Config, check_private
from syncd.config.secrets import check_secret, signing_key_place
from syncd.doctor import findings
from syncd.doctor.findings import Finding
from syncd.errors import ConfigError, SourceError, SyncdError
from syncd.source.header import HEADER_SIZE, parse_header
from syncd.state import SHADOW_FILE, STATE_FILE, read_status

_SPARE: Final = 64 << 20
_VERSION_AT: Final = 96  # SQLITE_VERSION_NUMBER of who wrote last, sqlite.org/fileformat2.html#validfor


def look_at_host(config: Config, path: Path) -> list[Finding]:
    """The configuration, the signing key, the state directory, the SQLite of this Python."""
    return [*_looks(config, path)]


def look_at_database(config: Config, name: str, now_ms: int) -> list[Finding]:
    """One database of the application, its copy, and its calendar."""
    path = config.databases[name].path
    found = [*_source(path), *_state(config, name, now_ms)]
    return [*found, findings.of_retention(name, config.retention_of(name).schedule)]


def _looks(config: Config, path: Path) -> Iterator[Finding]:
    yield findings.of_configuration(str(path), path.stat().st_mode)
    key = signing_key_place(config.keys)
    try:
        check_secret(key)
    except SyncdError as e:
        yield findings.failure("signing_key", e.message, e.hint)
    else:
        yield findings.ok(str(key), "the signing key is readable by its owner only")
    yield from _state_directory(config)
    yield findings.of_own_library(sqlite3.sqlite_version_info)


def _state_directory(config: Config) -> Iterator[Finding]:
    directory = config.state_dir
    if not directory.exists():
        yield findings.warning(str(directory), "not there yet", "the first `syncd run` makes it")
        return
    try:
        check_private(directory)
    except ConfigError as e:
        yield findings.failure(str(directory), e.message, e.hint)
    else:
        yield findings.ok(str(directory), "only its owner may enter")
    needed = sum(_size(d.path) + _size(Path(f"{d.path}-wal")) for d in config.databases.values())
    # The copies that are there already have their space.
    there = sum(_size(config.state_of(name) / SHADOW_FILE) for name in config.databases)
    free = shutil.disk_usage(directory).free
    yield findings.of_space(str(directory), free, max(0, needed - there) + _SPARE)


def _source(path: Path) -> Iterator[Finding]:
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_SIZE)
            mode = os.fstat(file.fileno()).st_mode
        header = parse_header(raw, path)
        log = Path(f"{path}-wal")
        if log.exists():
            log.open("rb").close()
    except OSError as e:
        yield findings.failure(str(path), f"cannot be read: {e.strerror}", "let syncd's user read it")
        return
    except SourceError as e:
        yield findings.failure(str(path), e.message, e.hint)
        return
    yield findings.of_database_mode(str(path), mode)
    yield findings.of_journal(str(path), wal=header.wal)
    if header.wal:
        yield findings.of_wal(str(path), _size(log), _size(path))
    number = int.from_bytes(raw[_VERSION_AT : _VERSION_AT + 4])
    yield findings.of_writer(str(path), number, wal=header.wal)


def _state(config: Config, name: str, now_ms: int) -> Iterator[Finding]:
    path = config.state_of(name) / STATE_FILE
    try:
        if not path.exists():
            yield findings.warning(name, "never captured yet", "syncd run")
            return
        status = read_status(path)
    except (OSError, SyncdError) as e:
        yield findings.failure(name, f"its state cannot be read: {e}", "run it as the daemon's user")
        return
    if status.source_error:
        yield findings.failure(name, f"{status.source_state}: {status.source_error}", "see `syncd status`")
    for target in status.targets:
        where = f"{name} at {target.name}"
        if target.error:
            yield findings.failure(where, f"{target.state}: {target.error}", "see `syncd status`")
        elif target.stored is None:
            yield findings.warning(where, "nothing can be restored from there yet", "see `syncd status`")
        else:
            yield findings.ok(where, f"seq {target.stored} is stored")
    yield from findings.of_jobs(name, {job.name: job for job in status.jobs}, now_ms)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
