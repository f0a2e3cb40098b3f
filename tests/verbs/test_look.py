"""A look at the state from outside."""

from pathlib import Path

import pytest

from syncd.state import open_state, read_status
from tests.torture.mounts import Mount


async def test_on_a_read_only_file_system(tmp_path: Path) -> None:
    """As ext4 is after an error: SQLite cannot make its files beside the state, and it must be seen."""
    directory = tmp_path / "state"
    directory.mkdir()
    with Mount.over(directory, 8 << 20) as mount:
        if not mount.real:
            pytest.skip("only root may mount a file system")
        state = await open_state(directory / "state.db")
        await state.set_source("chat.db", "failing", "it is gone", 1)
        await state.close()
        assert mount.write_protect(protected=True)
        status = read_status(directory / "state.db")
    assert (status.source_state, status.source_error) == ("failing", "it is gone")
