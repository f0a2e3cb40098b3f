"""Tables of commands that must fail, each with its exit code and the words of its one line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.conftest import Kept
from tests.e2e.process import Zygote, assert_refused, partials


@dataclass(slots=True)
class Desk:
    """Where a row's command runs: an empty directory, and the archive that all rows share."""

    path: Path
    kept: Kept
    env: dict[str, str] = field(default_factory=dict)
    uid: int = 0

    @property
    def to(self) -> Path:
        """Where a restore is to write; must not be there afterwards, unless it was before."""
        return self.path / "to" / "restored.db"


@dataclass(frozen=True, slots=True)
class Row:
    """`prepare` makes the mistake, and gives the arguments; `words` must stand in the error's line."""

    name: str
    prepare: Callable[[Desk], Sequence[object]]
    code: int
    words: tuple[str, ...]


def check(row: Row, kept: Kept, directory: Path, quick: Zygote) -> None:
    """Run the row: it says what was wrong, in one line, and leaves nothing behind."""
    desk = Desk(directory, kept)
    desk.to.parent.mkdir()
    arguments = row.prepare(desk)
    before = _listing(desk.to.parent)
    outcome = quick(*arguments, env=desk.env, cwd=desk.path, uid=desk.uid)
    assert_refused(outcome, row.code, *row.words)
    assert _listing(desk.to.parent) == before, "nothing may be made or changed where the result would lie"
    assert partials(desk.path) == []


def _listing(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in directory.iterdir()}
