"""A glance says whether the next look may wait: only beside a log that grows slowly."""

import os
from pathlib import Path

import pytest

from tests.source.app import App
from tests.source.rig import Rig
from tests.source.test_capture_wal import FAST, ROW, TABLE


@pytest.fixture
def chat(app: App, rig: Rig) -> App:
    app.open(*FAST)
    app.sql(TABLE)
    rig.check()
    assert not rig.capture.stirs()
    return app


def test_a_few_commits_may_wait(chat: App, rig: Rig) -> None:
    assert not rig.capture.stirs(first=True)
    for _ in range(20):
        chat.sql(ROW, 100)
        assert rig.capture.stirs(first=True)
    assert not rig.capture.stirs()
    (piece,) = rig.check()
    assert piece.commits == 20
    assert not rig.capture.stirs()


def test_many_frames_may_not(chat: App, rig: Rig) -> None:
    chat.sql(ROW, 4096 * 110)
    assert rig.capture.stirs()
    rig.check()
    assert not rig.capture.stirs()


@pytest.mark.parametrize("mode", ["RESTART", "TRUNCATE"])
def test_a_log_that_was_reset_may_not(chat: App, rig: Rig, mode: str) -> None:
    for _ in range(3):
        chat.sql(ROW, 100)
    rig.check()
    chat.sql(f"PRAGMA wal_checkpoint({mode})")
    chat.sql(ROW, 100)
    assert rig.capture.stirs()
    rig.check()
    assert not rig.capture.stirs()


def test_a_log_that_was_taken_away_may_not(chat: App, rig: Rig) -> None:
    chat.close()
    assert rig.capture.stirs()
    rig.check()


def test_a_log_of_nobody_may_not(chat: App, rig: Rig) -> None:
    chat.kill()
    rig.check()
    assert rig.capture.stirs()


def test_a_file_without_a_log_may_not(app: App, rig: Rig) -> None:
    app.open("journal_mode=delete")
    app.sql(TABLE)
    rig.check()
    assert rig.capture.stirs()


def test_before_the_first_look_it_may_not(rig: Rig) -> None:
    assert rig.capture.stirs()


@pytest.mark.usefixtures("chat")
def test_an_index_that_cannot_be_read_is_left_to_the_look(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int, _count: int, _offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert rig.capture.stirs()
    assert not rig.capture.stirs()


@pytest.mark.usefixtures("chat")
def test_an_index_that_is_cut_off_is_left_to_the_look(rig: Rig, path: Path) -> None:
    os.truncate(path.with_name("chat.db-shm"), 0)
    assert rig.capture.stirs()
