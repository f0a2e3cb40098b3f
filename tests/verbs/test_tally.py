"""The tally's temporary file on a disk that fails."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from syncd.errors import StateError
from syncd.verify.tally import Tally


def full(**_: object) -> IO[bytes]:
    return Path("/dev/full").open("w+b")


def failing(**_: object) -> IO[bytes]:
    raise OSError(28, "No space left on device")


def filled(directory: Path) -> None:
    tally = Tally(directory)
    try:
        for number in range(300):
            tally.add(bytes(16), 512, [number], bytes(512))
    finally:
        tally.close()


@pytest.mark.parametrize("made", [full, failing])
def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., IO[bytes]]
) -> None:
    filled(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", made)
    with pytest.raises(StateError, match=rf"a temporary file in {tmp_path} .*: No space left on device"):
        filled(tmp_path)
