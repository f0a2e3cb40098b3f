"""A slice of the power cuts, and that they see what they are there to see.

More of them: python -m tests.crashes.power
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crashes import power
from tests.crashes.disk import Disk
from tests.crashes.judge import Life
from tests.crashes.syscalls import Cut, Gone, Made, Moved, Operation, Synced, Write, read
from tests.e2e import trace

ROOT = Path("/own")
CASES = 25

pytestmark = pytest.mark.skipif(trace.is_missing(), reason="strace is not installed")


@pytest.fixture(scope="module")
def life(lasting_room: Path) -> Life:
    return power.record(lasting_room)


def test_what_was_acknowledged_survives(life: Life) -> None:
    _, wrong = power.campaign(life, seed=1, cases=CASES)
    assert wrong == []


@pytest.mark.parametrize(
    "forgotten",
    [
        lambda what: isinstance(what, Path),
        lambda what: isinstance(what, Path) and what.name == "own",
        lambda what: isinstance(what, int),
    ],
    ids=["of directories", "of one directory", "of files"],
)
def test_it_sees_syncs_that_are_missing(life: Life, forgotten: Callable[[int | Path | None], bool]) -> None:
    kept = [each for each in life.operations if not isinstance(each, Synced) or not forgotten(each.what)]
    careless = Life(life.directory, kept, life.identity)
    _, wrong = power.campaign(careless, seed=1, cases=8)
    assert wrong


def left(room: Path, *operations: Operation, seeds: int = 200) -> set[tuple[tuple[str, bytes], ...]]:
    """Everything that a cut after these operations can leave."""
    found: set[tuple[tuple[str, bytes], ...]] = set()
    for seed in range(seeds):
        root = room / str(seed)
        root.mkdir()
        moved = [_below(root, each) for each in operations]
        Disk.at_cut(root, moved).leave(random.Random(seed))
        found.add(tuple(sorted((path.name, path.read_bytes()) for path in root.iterdir() if path.is_file())))
    return found


def _below(root: Path, operation: Operation) -> Operation:
    match operation:
        case Made(path, file):
            return Made(root / path, file)
        case Moved(path, to):
            return Moved(root / path, root / to)
        case Gone(path):
            return Gone(root / path)
        case Synced(Path() as path, before):
            return Synced(root / path, before)
        case _:
            return operation


HERE = Path()
MADE = (Made(Path("a"), 1), Write(1, 0, b"x" * 1024), Synced(1, 2), Synced(HERE, 3))
X, Y = b"x" * 512, b"y" * 512


def test_what_was_synced_is_there(room: Path) -> None:
    assert left(room, *MADE) == {(("a", X + X),)}


def test_a_name_that_was_not_synced_may_be_lost_with_its_bytes(room: Path) -> None:
    assert left(room, *MADE[:3]) == {(("a", X + X),), ()}


def test_bytes_that_were_not_synced_may_be_lost_without_their_name(room: Path) -> None:
    found = left(room, MADE[0], Synced(HERE, 1), MADE[1])
    assert {(("a", b""),), (("a", X + X),), (("a", X + bytes(512)),), (("a", bytes(1024)),)} <= found


def test_sectors_are_old_or_new(room: Path) -> None:
    assert left(room, *MADE, Write(1, 0, b"y" * 1024)) == {
        (("a", X + X),),
        (("a", X + Y),),
        (("a", Y + X),),
        (("a", Y + Y),),
    }


def test_a_sync_counts_for_what_was_before_it_began(room: Path) -> None:
    late = left(room, *MADE, Write(1, 0, Y), Synced(1, 4))
    assert late == {(("a", X + X),), (("a", Y + X),)}
    (room / "again").mkdir()
    assert left(room / "again", *MADE, Write(1, 0, Y), Synced(1, 5)) == {(("a", Y + X),)}


def test_a_rename_is_done_or_not(room: Path) -> None:
    found = left(room, *MADE, Moved(Path("a"), Path("b")))
    assert found == {(("a", X + X),), (("b", X + X),)}


def test_sizes_and_removals_may_be_lost_or_done(room: Path) -> None:
    assert left(room, *MADE, Cut(1, 512)) == {(("a", X),), (("a", X + X),)}
    (room / "again").mkdir()
    assert left(room / "again", *MADE, Gone(Path("a"))) == {(("a", X + X),), ()}


def spelled(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def test_a_trace_is_read() -> None:
    file, other, unnamed = spelled("/own/a"), spelled("/own/b"), spelled("/own/#7")
    lines = [
        f'1 openat(AT_FDCWD<{spelled("/")}>, "{file}", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5<{file}>',
        f'1 write(5<{file}>, "{spelled("abc")}", 3) = 3',
        f'1 write(5<{file}>, "{spelled("def")}", 3) = 2',
        f"1 fsync(5<{file}> <unfinished ...>",
        f'2 pwrite64(5<{file}>, "{spelled("z")}", 1, 9) = 1',
        "1 <... fsync resumed>) = 0",
        f"1 ftruncate(5<{file}>, 4) = 0",
        f'1 rename("{file}", "{other}") = 0',
        f'1 link("{other}", "{file}") = -1 EEXIST (File exists)',
        f'1 unlink("{other}") = 0',
        f'1 unlink("{spelled("/elsewhere")}") = 0',
        f'1 openat(AT_FDCWD<{spelled("/")}>, "{spelled("/own")}", O_RDWR|O_TMPFILE, 0600) = 5<{unnamed}>',
        f'1 write(5<{unnamed}>, "{spelled("abc")}", 3) = 3',
        "1 sync() = 0",
    ]
    assert read("\n".join(lines), ROOT) == [
        Made(ROOT / "a", 1),
        Write(1, 0, b"abc"),
        Write(1, 3, b"de"),
        Write(1, 9, b"z"),
        Synced(1, 3),
        Cut(1, 4),
        Moved(ROOT / "a", ROOT / "b"),
        Gone(ROOT / "b"),
        Synced(None, 8),
    ]


def test_a_call_that_is_not_understood_is_told() -> None:
    with pytest.raises(ValueError, match="symlink of /own/a is not understood"):
        read(f'1 symlink("{spelled("/own/a")}", "{spelled("/own/b")}") = 0', ROOT)
