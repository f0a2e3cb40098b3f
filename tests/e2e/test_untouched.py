"""The application's files are read and nothing else: watched by strace, also as a user who may only read."""

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e import trace
from tests.e2e.process import SYNCD, chatting, running
from tests.e2e.support import Site, keep_truth

NOBODY = 65534
AS_NOBODY = (sys.executable, str(Path(__file__).with_name("unprivileged.py")), str(NOBODY))


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may pass; pytest's own are for one user."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-e2e-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def listing(directory: Path) -> dict[str, tuple[int, ...]]:
    """Every name with owner, mode, size, inode and times, but for the time of the last reading."""
    return {
        str(path): (s.st_uid, s.st_gid, s.st_mode, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns)
        for path in (directory, *directory.rglob("*"))
        for s in (path.stat(),)
    }


@pytest.mark.parametrize("user", ["owner", "reader"])
def test_the_application_never_notices(public: Path, user: str) -> None:
    if trace.is_missing():
        assert "CI" not in os.environ, "CI installs strace"
        pytest.skip("strace is not installed: apt-get install strace")
    if user == "reader" and os.getuid() != 0:
        pytest.skip("only root can become another user")
    app = public / "app"
    wal, rollback = app / "wal" / "chat.db", app / "rollback" / "forum.db"
    for database in (wal, rollback):
        database.parent.mkdir(parents=True)
    site = Site(public / "site", {"chat": wal, "forum": rollback})
    if user == "reader":
        for path in (site.directory, *site.directory.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    output = public / "trace"
    command = (*trace.command(output), *(SYNCD if user == "owner" else AS_NOBODY))
    scratch = public / "scratch"
    with closing(sqlite3.connect(rollback, isolation_level=None)) as forum:
        forum.execute("PRAGMA journal_mode = DELETE")
        forum.execute("CREATE TABLE post (body)")
        with chatting(wal, public, rate=200) as chat:
            chat.wait_messages(50)
            chat.stop_writing()
            # Both are open and at rest: whatever changes now, syncd did.
            before = listing(app)
            assert {f"{wal}", f"{wal}-wal", f"{wal}-shm", f"{rollback}"} <= before.keys()
            with running(site.config, command=command) as daemon:
                daemon.wait_for("daemon.ready")
                site.wait_stored(keep_truth(wal, scratch, "first"))
                site.wait_stored(keep_truth(rollback, scratch, "posts"), name="forum")
                assert listing(app) == before
                # Now both write while syncd reads, and the chat's last connection closes.
                chat.close()
                with chatting(wal, public, rate=300) as again:
                    for number in range(20):
                        forum.execute("INSERT INTO post VALUES (?)", (f"post {number}" * 20,))
                    again.wait_messages(300)
                    again.stop_writing()
                    again.close()
                site.wait_stored(keep_truth(wal, scratch, "last"))
                site.wait_stored(keep_truth(rollback, scratch, "all posts"), name="forum")
                names = {path: stat[:3] for path, stat in listing(app).items()}
                outcome = daemon.end()
                assert (outcome.code, outcome.err) == (0, "")
                assert {path: stat[:3] for path, stat in listing(app).items()} == names
    traced = trace.finished(output, daemon.process.pid)
    calls = list(trace.calls(traced, app))
    opened = "".join(call.arguments for call in calls if call.name == "openat")
    for name in (str(wal), f"{wal}-wal", f"{wal}-shm", str(rollback)):
        assert f'"{name}"' in opened, "it was not even opened"
    assert [call for call in calls if not trace.is_harmless(call)] == []


@pytest.mark.parametrize(
    "line",
    [
        '7 openat(AT_FDCWD</>, "/app/chat.db", O_RDWR|O_CLOEXEC) = 5',
        '7 openat(AT_FDCWD</>, "/app/chat.db-wal", O_RDONLY|O_CREAT, 0644 <unfinished ...>',
        '7 unlink("/app/chat.db-wal") = -1 ENOENT (No such file or directory)',
        '7 rename("/tmp/x", "/app/chat.db") = 0',
        "7 ftruncate(5</app/chat.db>, 0) = 0",
        '7 pwrite64(5</app/chat.db-shm>, ""..., 8, 0) = 8',
        "7 mmap(NULL, 32768, PROT_READ, MAP_SHARED, 5</app/chat.db-shm>, 0) = 0x7f",
        "7 fcntl(5</app/chat.db>, F_SETLK, {l_type=F_RDLCK, l_start=1073741824, l_len=1}) = 0",
        "7 fcntl(5</app/chat.db-shm>, F_SETLK, {l_type=F_WRLCK, l_start=120, l_len=1}) = 0",
        "7 fcntl(5</app/chat.db-shm>, F_SETLKW, {l_type=F_RDLCK, l_start=124, l_len=1}) = 0",
        "7 fcntl(5</app/chat.db>, F_OFD_SETLK, {l_type=F_RDLCK, l_start=0, l_len=1} <unfinished ...>",
    ],
)
def test_it_would_be_noticed(line: str) -> None:
    (call,) = trace.calls(line, Path("/app"))
    assert not trace.is_harmless(call)


def test_reading_and_the_guard_are_harmless() -> None:
    lines = (
        '7 openat(AT_FDCWD</>, "/app/chat.db", O_RDONLY|O_CLOEXEC) = 5</app/chat.db>',
        '7 stat("/app/chat.db-wal", {st_mode=S_IFREG}) = 0',
        "7 fcntl(5</app/chat.db-shm>, F_GETLK, {l_type=F_UNLCK}) = 0",
        "7 fcntl(5</app/chat.db-shm>(deleted), F_SETLK, {l_type=F_RDLCK, l_start=124, l_len=1}) = 0",
        "7 fcntl(5</app/chat.db-shm>, F_SETLKW, {l_type=F_UNLCK, l_start=124, l_len=1} <unfinished ...>",
        '7 openat(AT_FDCWD</>, "/elsewhere", O_RDWR|O_CREAT, 0600) = 6</elsewhere>',
    )
    calls = list(trace.calls("\n".join(lines), Path("/app")))
    assert len(calls) == 5
    assert all(map(trace.is_harmless, calls))
