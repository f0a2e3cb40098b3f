"""The wal-index of real databases, and the guard that keeps a log from being reset."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.source.walindex import (
    Guard,
    connected_process,
    glance,
    is_backfilled,
    is_being_written,
    parse_index,
    read_index,
)
from tests.source.app import App

FAST = ("journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0")
ROW = "INSERT INTO t VALUES (randomblob(900))"


@pytest.fixture
def chat(app: App) -> App:
    app.open(*FAST)
    app.sql("CREATE TABLE t (a)")
    return app


@pytest.fixture
def shm(chat: App) -> Iterator[int]:
    fd = os.open(f"{chat.path}-shm", os.O_RDONLY)
    yield fd
    os.close(fd)


def index_of(fd: int) -> tuple[int, int, int]:
    index = read_index(fd)
    assert index is not None
    return index.change, index.max_frame, index.page_count


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_every_page_size(app: App, size: int) -> None:
    app.open(f"page_size={size}", *FAST)
    app.sql("CREATE TABLE t (a)")
    raw = Path(f"{app.path}-shm").read_bytes()
    index = parse_index(raw[:96])
    assert index is not None
    assert index.page_size == size
    assert index.page_count == 2
    assert index.salts == Path(f"{app.path}-wal").read_bytes()[16:24]
    assert not index.big_endian


def test_a_glance_sees_what_a_reading_does(chat: App, shm: int, tmp_path: Path) -> None:
    for _ in range(5):
        chat.sql(ROW)
        index = read_index(shm)
        assert index is not None
        assert glance(shm) == (index.max_frame, index.salts)
    raw = bytearray(os.pread(shm, 96, 0))
    copy = tmp_path / "shm"
    for torn in (raw[:95], raw[:48] + bytes(48), b""):
        copy.write_bytes(torn)
        fd = os.open(copy, os.O_RDONLY)
        try:
            assert glance(fd) is None
        finally:
            os.close(fd)


def test_change_counts_commits_across_resets(chat: App, shm: int) -> None:
    change, frames, _ = index_of(shm)
    for _ in range(5):
        chat.sql(ROW)
    assert index_of(shm)[0] == change + 5
    chat.sql("BEGIN")
    chat.sql(ROW)
    chat.sql("ROLLBACK")
    chat.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    chat.sql(ROW)
    assert index_of(shm)[0] == change + 6
    assert index_of(shm)[1] <= frames + 1


def test_it_stays_readable_after_it_was_unlinked(chat: App, shm: int) -> None:
    chat.sql(ROW)
    before = index_of(shm)
    assert not is_backfilled(shm, before[1])
    chat.close()
    assert not Path(f"{chat.path}-shm").exists()
    assert index_of(shm) == before
    assert is_backfilled(shm, before[1])
    assert not is_backfilled(shm, before[1] + 1)


def test_a_header_counts_only_where_both_copies_agree(chat: App, shm: int) -> None:
    chat.sql(ROW)
    raw = os.pread(shm, 96, 0)
    assert parse_index(raw) is not None
    for at in range(96):
        damaged = bytearray(raw)
        damaged[at] ^= 1
        assert parse_index(bytes(damaged)) is None
        both = bytearray(raw)
        both[at % 48] ^= 1
        both[at % 48 + 48] ^= 1
        # Bytes 40 to 47 are the checksum itself; everything else is under it.
        assert parse_index(bytes(both)) is None
    assert parse_index(raw[:95]) is None
    assert parse_index(bytes(96)) is None


def test_who_is_connected(chat: App, shm: int) -> None:
    pid = connected_process(shm)
    assert pid
    chat.open("schema_version", name="b")
    chat.close()
    assert connected_process(shm) == pid
    chat.kill()
    assert connected_process(shm) is None


def test_who_writes(app: App) -> None:
    app.open("journal_mode=delete", "cache_size=2")
    app.sql("CREATE TABLE t (a)")
    fd = os.open(app.path, os.O_RDONLY)
    try:
        assert not is_being_written(fd)
        app.sql("BEGIN EXCLUSIVE")
        assert is_being_written(fd)
        app.sql("COMMIT")
        assert not is_being_written(fd)
        app.sql("BEGIN")
        app.sql("SELECT * FROM t")
        assert not is_being_written(fd)  # readers are no writers
    finally:
        os.close(fd)


def resets(chat: App, shm: int) -> bool:
    """Whether a checkpoint and a commit begin the log anew."""
    before = index_of(shm)[1]
    chat.sql("PRAGMA wal_checkpoint(PASSIVE)")
    chat.sql(ROW)
    return index_of(shm)[1] <= before


def test_a_guarded_log_is_not_reset_and_its_writer_not_held_up(chat: App, shm: int) -> None:
    chat.sql("PRAGMA busy_timeout=0")
    for _ in range(3):
        chat.sql(ROW)
    assert resets(chat, shm)
    for _ in range(3):
        chat.sql(ROW)
    guard = Guard(shm)
    assert not guard.held
    assert guard.acquire()
    assert guard.acquire()
    assert guard.held
    for _ in range(20):
        assert not resets(chat, shm)
    guard.release()
    guard.release()
    assert not guard.held
    chat.sql(ROW)
    assert resets(chat, shm)


def test_a_guard_takes_no_mark_that_is_unused(chat: App, shm: int) -> None:
    chat.kill()
    with Path(f"{chat.path}-shm").open("r+b") as file:
        file.seek(100)
        file.write(bytes(4) + b"\xff" * 16)
    assert not Guard(shm).acquire()
    os.truncate(f"{chat.path}-shm", 100)
    assert not Guard(shm).acquire()


def test_a_guard_waits_for_nobody(chat: App, shm: int) -> None:
    chat.sql(ROW)
    script = (
        "import fcntl,sys;f=open(sys.argv[1],'r+b');fcntl.lockf(f,fcntl.LOCK_EX,4,124);print(1,flush=True);"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script, f"{chat.path}-shm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert not Guard(shm).acquire()
    assert Guard(shm).acquire()
