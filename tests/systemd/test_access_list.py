"""The unit's recipe for another user's database, done as it stands there."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "syncd.service"
READER, OWNER = 65534, 4242
# The application: another user, a strict umask, a log that it makes anew, and it stays open.
APPLICATION = """
import os, sqlite3, sys
os.umask(0o077); os.setgroups([]); os.setgid({owner}); os.setuid({owner})
connection = sqlite3.connect({path!r}, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE IF NOT EXISTS message (body)")
connection.execute("INSERT INTO message VALUES ('x')")
print("ready", flush=True)
sys.stdin.readline()
"""
READ = """
import os, sys
os.setgroups([]); os.setgid({reader}); os.setuid({reader})
def may(path, flags):
    try:
        os.close(os.open(path, flags))
    except PermissionError:
        return False
    return True
print([(may(path, os.O_RDONLY), may(path, os.O_WRONLY)) for path in {paths!r}])
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setfacl") is None, reason="needs root and setfacl"
)


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="syncd-acl-") as name:
        Path(name).chmod(0o710)
        os.chown(name, 0, OWNER)
        path = Path(name) / "chat"
        path.mkdir(mode=0o700)
        os.chown(path, OWNER, OWNER)
        yield path


def application(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", APPLICATION.format(owner=OWNER, path=str(path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_it_reads_what_is_there_and_what_comes_and_writes_nothing(directory: Path) -> None:
    database = directory / "chat.db"
    first = application(database)
    first.communicate("\n", timeout=30)
    commands = re.findall(r"^#   (setfacl .+?)(?:  .*)?$", UNIT.read_text(), flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        here = command.replace("/srv/chat", str(directory)).replace("/srv", str(directory.parent))
        here = here.replace("u:syncd:", f"u:{READER}:")
        subprocess.run(["/bin/sh", "-c", here], check=True)
    second = application(database)
    try:
        paths = [str(database), f"{database}-wal", f"{database}-shm"]
        done = subprocess.run(
            [sys.executable, "-c", READ.format(reader=READER, paths=paths)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        second.communicate("\n", timeout=30)
    assert done.stdout == f"{[(True, False)] * 3}\n"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (2,)
    connection.close()
