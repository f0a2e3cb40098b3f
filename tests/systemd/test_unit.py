import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from syncd.config.model import Stop
from syncd.errors import ConfigError

UNIT = Path(__file__).parents[2] / "systemd" / "syncd.service"


class Unit(configparser.RawConfigParser):
    """systemd's syntax, as far as the unit uses it: the last value of a key."""

    def __init__(self) -> None:
        super().__init__(delimiters=("=",), comment_prefixes=("#",), strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string(UNIT.read_text())


@pytest.fixture
def service() -> configparser.SectionProxy:
    return Unit()["Service"]


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is missing: install the package systemd")
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert text.count("\nExecStart=/usr/bin/syncd run ") == 1
    # verify looks for the program itself.
    copy.write_text(text.replace("\nExecStart=/usr/bin/syncd run ", f"\nExecStart={sys.executable} run "))
    done = subprocess.run(
        [tool, "verify", "--man=no", str(copy)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_exposure_is_low() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")  # test_systemd_finds_no_fault fails where it must be
    done = subprocess.run(
        [tool, "security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_daemon_tells_its_state(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert seconds(service["WatchdogSec"]) >= 10
    # Ready is when a first copy is stored, which no fixed time limits.
    assert service["TimeoutStartSec"] == "infinity"


def test_a_stop_leaves_time_to_drain(service: configparser.SectionProxy) -> None:
    assert service["KillSignal"] == "SIGTERM"
    assert seconds(service["TimeoutStopSec"]) >= 2 * Stop().drain


def test_the_command_is_the_documented_one(service: configparser.SectionProxy) -> None:
    assert service["ExecStart"] == "/usr/bin/syncd run --config /etc/syncd/syncd.toml"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_a_wrong_configuration_is_not_tried_again(service: configparser.SectionProxy) -> None:
    assert service["Restart"] == "on-failure"
    assert str(ConfigError.exit_code) in service["RestartPreventExitStatus"].split()
    unit = Unit()["Unit"]
    burst = int(unit["StartLimitBurst"])
    # Ten tries fit into the interval, else the limit would never be reached.
    assert unit["StartLimitIntervalSec"] == "10min"
    assert burst * seconds(service["RestartSec"]) < 600


def test_the_state_directory_is_private_and_the_default_one(service: configparser.SectionProxy) -> None:
    assert (service["User"], service["StateDirectory"]) == ("syncd", "syncd")
    assert service["StateDirectoryMode"] == "0700"
    assert service["UMask"] == "0077"


def test_it_keeps_out_of_the_way(service: configparser.SectionProxy) -> None:
    assert service["ProtectSystem"] == "strict"
    assert service["ProtectHome"] == "read-only"
    for key in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "RestrictSUIDSGID"):
        assert service[key] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["MemoryMax"] == "256M"


def test_no_comment_stands_behind_a_value() -> None:
    # systemd knows comments on lines of their own only.
    for line in UNIT.read_text().splitlines():
        assert line.startswith("#") or "#" not in line
