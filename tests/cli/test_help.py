"""`--help` is quick because it imports nothing heavy; and the exit codes it tells are those of the errors."""

import json
import re
import subprocess
import sys

import pytest

from syncd import errors
from syncd.errors import SyncdError

HEAVY = {"numpy", "cryptography", "aiobotocore", "botocore", "pydantic", "aiosqlite", "asyncio", "structlog"}
HEAVY |= {"watchfiles", "apscheduler", "tenacity", "backports.zstd", "sqlite3"}
COMMANDS: tuple[str, ...] = ("init", "run", "restore", "log", "status", "demo", "verify", "drill")
COMMANDS += ("keys", "prune", "undelete", "hold", "release")

PROBE = """
import json, sys
sys.argv[0] = "syncd"
from syncd.cli import main
try:
    main()
finally:
    print("MODULES" + json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    before, _, modules = done.stderr.partition("MODULES")
    assert before == ""
    # typer itself takes pydantic, where it is installed, for the types of a command's options.
    unasked = {"pydantic"} if arguments[0] in COMMANDS else set()
    assert HEAVY & set(json.loads(modules)) - unasked == set()
    assert "syncd" in done.stdout


def test_the_probe_would_notice() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "log"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 10
    assert HEAVY & set(json.loads(done.stderr.partition("MODULES")[2]))


def classes() -> list[type[SyncdError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SyncdError)]


def test_help_tells_every_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "syncd.cli", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    words = done.stdout.split()
    for kind in classes():
        assert str(kind.exit_code) in words, kind


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    told = {name: int(code) for name, code in re.findall(r"(\w+) +(\d+)\b", errors.__doc__ or "")}
    assert told
    for name, code in told.items():
        assert getattr(errors, name).exit_code == code
    assert told.keys() == {kind.__name__ for kind in classes()}
