"""The chat run against a driver of three lines; the real applications are not for CI."""

import sys
from pathlib import Path

from tests.campaigns.rig import Depot
from tests.chat.run import run

DRIVER = """
import json, sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("PRAGMA journal_mode = WAL")
conn.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, channel TEXT, type TEXT)")
for number in range(50):
    conn.execute("INSERT INTO messages(channel, type) VALUES ('#drv', 'message')")
    time.sleep(0.1)
time.sleep(2)
counts = {"msg": int(sys.argv[2]), "own": 0, "action": 0, "notice": 0}
print(json.dumps({"counts": counts}), flush=True)
time.sleep(0.5)
"""
SCRIPT = """
mkdir "$1" && echo "DB $1/chat.db" && exec {python} {driver} "$1/chat.db" {claimed}
"""


def _drivers(directory: Path, python: str, claimed: int) -> Path:
    drivers = directory / "drivers" / "thelounge"
    drivers.mkdir(parents=True)
    (drivers / "drive.py").write_text(DRIVER)
    script = SCRIPT.format(python=python, driver=drivers / "drive.py", claimed=claimed)
    (drivers / "run.sh").write_text(script)
    return drivers.parent


def test_an_application_beside_syncd(tmp_path: Path) -> None:
    drivers = _drivers(tmp_path, sys.executable, 50)
    numbers = run("thelounge", tmp_path, drivers, Depot(), messages=50, rate=0)
    assert numbers["wrong"] == []
    assert numbers["journal mode"] == "WAL"
    assert numbers["kept"]["message"] == 50
    assert numbers["restored meanwhile"].endswith("ok")
    assert numbers["deltas"] >= 3


def test_a_lost_message_is_seen(tmp_path: Path) -> None:
    drivers = _drivers(tmp_path, sys.executable, 51)
    numbers = run("thelounge", tmp_path, drivers, Depot(), messages=51, rate=0)
    assert any("sent" in problem for problem in numbers["wrong"])
