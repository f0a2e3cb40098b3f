"""The demo's chat application and the benchmark's writer, as their callers use them."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.bench.stats import median, percentile, print_table
from tests.histories.driver import ROOT
from tests.support.oracle import fold, integrity_check


def start(module: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_until_done(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if message.get("done"):
            return message
    pytest.fail("the application ended without its last line")


def test_the_chat_application_holds_its_database_until_it_is_let_go(tmp_path: Path) -> None:
    db = tmp_path / "chat.db"
    with start("syncd.cli.chatapp", db, "--rate", 400, "--seconds", 0, "--control") as process:
        assert process.stdin
        assert process.stdout
        progress = json.loads(process.stdout.readline())
        assert progress["messages"] > 0
        process.stdin.write("stop\n")
        process.stdin.flush()
        last = read_until_done(process)
        assert last["changed_rows"] > 2 * last["messages"] >= 2 * progress["messages"]
        assert (tmp_path / "chat.db-wal").exists()
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        truth = fold(db, scratch).read_bytes()
        out, _ = process.communicate("close\n", timeout=30)
        assert (out, process.returncode) == ("", 0)
    assert not (tmp_path / "chat.db-wal").exists()
    assert db.read_bytes() == truth
    assert integrity_check(db) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_chat_application_at_once_and_in_order(tmp_path: Path, number: int) -> None:
    db = tmp_path / "chat.db"
    with start("syncd.cli.chatapp", db, "--rate", 100, "--seconds", 0, "--control") as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        last = read_until_done(process)
        assert process.wait(30) == 0
    with closing(sqlite3.connect(f"{db.as_uri()}?immutable=1", uri=True)) as conn:
        (last_id,) = conn.execute("SELECT max(id) FROM messages").fetchone()
    assert last_id == last["messages"]


def test_the_end_of_stdin_ends_the_chat_application(tmp_path: Path) -> None:
    with start("syncd.cli.chatapp", tmp_path / "chat.db", "--seconds", 0, "--control") as process:
        out, _ = process.communicate(timeout=30)
        assert json.loads(out.splitlines()[-1])["done"]
        assert process.returncode == 0


def test_the_schedule_is_absolute(tmp_path: Path) -> None:
    """The count is the rate times the time, whatever the single commit took."""
    with start("syncd.cli.chatapp", tmp_path / "chat.db", "--rate", 300, "--seconds", 0.5) as process:
        assert read_until_done(process)["messages"] <= 150


@pytest.mark.parametrize("app", ["chat", "demo"])
def test_the_bench_writer_reports_every_commit(tmp_path: Path, app: str) -> None:
    db, log = tmp_path / "bench.db", tmp_path / "commits"
    arguments = ("--db", db, "--seconds", 0.2, "--rate", 500, "--app", app, "--log", log, "--hold")
    with start("tests.bench.writer", *arguments) as process:
        assert process.stdout
        report = json.loads(process.stdout.readline())
        assert (tmp_path / "bench.db-wal").exists()
        process.communicate(timeout=30)
    assert set(report) == {
        "transactions", "seconds", "tx_per_s", "p50_us", "p99_us", "max_us", "busy_errors"
    }  # fmt: skip
    assert 0 < report["p50_us"] <= report["p99_us"] <= report["max_us"]
    assert report["busy_errors"] == 0
    commits = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert [number for number, _ in commits] == list(range(1, report["transactions"] + 1))
    assert commits == sorted(commits, key=lambda commit: commit[1])


def test_the_bench_writer_carries_on_in_an_existing_database(tmp_path: Path) -> None:
    counts = []
    for _ in range(2):
        with start("tests.bench.writer", "--db", tmp_path / "bench.db", "--seconds", 0.1) as process:
            counts.append(json.loads(process.communicate(timeout=30)[0])["transactions"])
    with closing(sqlite3.connect(tmp_path / "bench.db")) as conn:
        assert conn.execute("SELECT count(*) FROM messages").fetchone() == (sum(counts),)


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 50) == 0.0
    assert [percentile([5, 1, 3, 2, 4], percent) for percent in (0, 20, 50, 99, 100)] == [1, 1, 3, 5, 5]
    assert median([4, 1, 3, 2]) == 2


def test_a_table_is_not_cut_off_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Throughput", ["writer", "tx/s"], [["alone " * 15, 1234567.89]])
    out = capsys.readouterr().out
    assert "1,234,567.9" in out
    assert "alone " * 14 in out
