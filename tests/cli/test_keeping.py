"""`syncd prune`, `hold`, `release` and `undelete` on a directory, with the time of day as it is."""

import json
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from syncd.cli.hold import Request, run_hold, run_holds, run_release
from syncd.cli.places import Place
from syncd.cli.prune import run_prune, run_undelete
from syncd.errors import ArchiveError, ConfigError, NoRestorePoint, StoreError
from tests.support.fakes import IDENTITY, SIGNING_KEY, FakeClock
from tests.verbs.prunable import Archive

CONFIG = """
state_dir = "{root}/state"
[keys]
signing_key = "{root}/signing.key"
recipients = ["{recipient}"]
[targets.one]
url = "file://{root}/one"
[targets.two]
url = "file://{root}/two"
[databases.chat]
path = "{root}/chat.db"
[retention]
pitr = "2d"
daily = 3
weekly = 0
monthly = 0
minimum = 1
grace = "1h"
max_share = 1.0
"""


@dataclass
class Desk:
    """A configuration with two targets; ten days of an archive lie in both."""

    root: Path

    def __post_init__(self) -> None:
        text = CONFIG.format(root=self.root, recipient=IDENTITY.recipient.to_text())
        self.place = Place("chat", None, None, "", None, self.root / "syncd.toml")
        (self.root / "syncd.toml").write_text(text)
        (self.root / "signing.key").write_text(SIGNING_KEY.to_text())
        archive = Archive(clock=FakeClock(ms=time.time_ns() // 1_000_000 - 10 * 86_400_000))
        archive.days(10)
        self.generation = archive.generation
        for target in ("one", "two"):
            for name, held in archive.held.items():
                path = self.root / target / "chat" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(held.data)
                os.utime(path, ns=(held.modified_ms * 1_000_000,) * 2)

    def files(self, target: str, part: str) -> list[Path]:
        return sorted((self.root / target / "chat").rglob(f"{part}/*"))

    def request(self, **changes: Any) -> Request:
        fields = {"until": "2099-01-01", "reason": "case 7", "at": None, "seq": None}
        names = ("name", "source", "archive", "endpoint_url", "identity", "config")
        place = {name: getattr(self.place, name) for name in names}
        return Request(**(place | fields | changes))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("COLUMNS", "200")
    return Desk(tmp_path)


def test_the_table_groups_what_is_alike(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    run_prune(replace(desk.place, source="one"), dry_run=True, as_json=False)
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if "│" in line]
    assert [row[0] for row in rows] == [
        *(f"snapshot {10 * n}" for n in range(10)),
        "deltas from 1 .. 76 (16 objects)",
        "deltas from 81 .. 96 (4 objects)",
        "4 packs",
        "7 packs",
        "1 epoch",
    ]
    assert rows[0][1:] == ["10 d", rows[0][2], "remove", "no rule keeps it"]
    assert rows[9][3:] == ["keep", "within pitr, the newest, daily 1 of 3"]
    assert rows[10][3:] == ["remove", "before pitr"]
    assert out.endswith("one: 12 objects stay, 30 would go (nothing was written)\n")
    assert desk.files("one", "tombstones") == []


def test_json_has_every_object_of_every_target(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    run_prune(desk.place, dry_run=False, as_json=True)
    one, two = json.loads(capsys.readouterr().out)
    assert (one["target"], two["target"]) == ("one", "two")
    assert (one["tombstoned"], one["removed"], one["kept"], len(one["objects"])) == (30, 0, 12, 42)
    first = one["objects"][0]
    assert first["name"] == f"generations/{desk.generation}/snapshots/{0:016x}"
    assert (first["kind"], first["verdict"], first["why"], first["deleted"]) == (
        "snapshot",
        "remove",
        "no rule keeps it",
        False,
    )
    assert re.fullmatch(r"20..-..-..T..:..:..\....Z", first["deleted_after"])


def test_hold_list_release(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    run_hold(desk.request(reason="[red]case 7"))
    lines = capsys.readouterr().out.splitlines()
    (mark_id,) = {line.split()[0] for line in lines}
    assert lines[0].endswith(f"one: {desk.generation} seq 0 to 100 until 2099-01-01T00:00:00.000Z")
    run_holds(desk.place, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(r["target"], r["id"], r["reason"]) for r in rows] == [
        ("one", mark_id, "[red]case 7"),
        ("two", mark_id, "[red]case 7"),
    ]
    run_holds(desk.place, as_json=False)
    assert "[red]case 7" in capsys.readouterr().out
    run_prune(desk.place, dry_run=False, as_json=False)
    out = capsys.readouterr().out
    assert "one: 42 objects stay, 0 tombstoned, 0 removed (0 B)" in out
    assert f"hold {mark_id} until 2099-01-01T00:00:00.000Z: [red]case 7" in out
    run_release(desk.place, mark_id)
    assert desk.files("one", "holds") == desk.files("two", "holds") == []
    with pytest.raises(ConfigError, match=f"there is no hold {mark_id}"):
        run_release(desk.place, mark_id)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seq": 12}, "seq 12 to 12 until"),
        ({"at": "2099-01-01"}, "seq 90 to 100 until"),
    ],
)
def test_a_hold_of_one_position(
    desk: Desk, changes: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_hold(desk.request(source="two", **changes))
    assert expected in capsys.readouterr().out
    assert desk.files("one", "holds") == []
    assert len(desk.files("two", "holds")) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"until": None}, ConfigError, "needs --until and --reason"),
        ({"reason": " "}, ConfigError, "needs --until and --reason"),
        ({"reason": "a\nb"}, ConfigError, "not printable"),
        ({"until": "2020-01-01"}, ConfigError, "is over"),
        ({"until": "soon"}, ConfigError, "--until soon: not a time"),
        ({"at": "then"}, ConfigError, "--at then: not a time"),
        ({"at": "2001-01-01"}, NoRestorePoint, "nothing is kept as early"),
        ({"seq": 101}, NoRestorePoint, "seq 101 is not kept"),
        ({"seq": 1, "at": "2099-01-01"}, ConfigError, "exclude each other"),
        ({"name": "other"}, ConfigError, "no database 'other'"),
    ],
)
def test_what_cannot_be_held(
    desk: Desk, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_hold(desk.request(**changes))
    assert desk.files("one", "holds") == []


def test_undelete_takes_tombstones_back(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NoRestorePoint, match="nothing is tombstoned"):
        run_undelete(desk.place, until=None)
    run_prune(replace(desk.place, source="one"), dry_run=False, as_json=True)
    capsys.readouterr()
    run_undelete(desk.place, until="2099-01-01")
    out = capsys.readouterr().out
    assert "one: 30 objects stay until 2099-01-01T00:00:00.000Z, hold " in out
    assert "two: nothing is tombstoned" in out
    assert desk.files("one", "tombstones") == []


def test_a_target_that_fails_does_not_keep_the_others_from_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = desk.root / "one" / "chat" / "holds" / desk.generation
    broken.parent.mkdir()
    broken.write_bytes(b"syncd")
    for as_json in (False, True):
        with pytest.raises(ArchiveError, match="nobody knows what this keeps"):
            run_prune(desk.place, dry_run=True, as_json=as_json)
    out = capsys.readouterr().out
    assert "one: nothing is removed" in out
    assert "two: 12 objects stay, 30 would go" in out


def test_an_archive_by_its_url_needs_a_rule(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    url = (desk.root / "two").as_uri()
    with pytest.raises(ConfigError, match="nothing says whose archive"):
        run_prune(replace(desk.place, archive=url), dry_run=True, as_json=False)
    with pytest.raises(ConfigError, match="the configuration says nothing of 'other'"):
        run_prune(replace(desk.place, name="other", archive=url), dry_run=True, as_json=False)
    with pytest.raises(ConfigError, match="needs the configuration"):
        run_undelete(replace(desk.place, archive=url), until=None)
    with pytest.raises(ConfigError, match="which database"):
        run_release(replace(desk.place, archive=url), desk.generation)
    assert capsys.readouterr().out == ""


def test_release_says_what_is_no_id(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="'x' is no id of a hold"):
        run_release(desk.place, "x")


def test_a_key_that_cannot_be_read(desk: Desk) -> None:
    (desk.root / "signing.key").unlink()
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        run_hold(desk.request())
    assert "signed" in caught.value.hint


def test_a_target_that_is_not_there(desk: Desk) -> None:
    (desk.root / "one").rename(desk.root / "elsewhere")
    with pytest.raises((StoreError, NoRestorePoint)):
        run_hold(desk.request(source="one"))
