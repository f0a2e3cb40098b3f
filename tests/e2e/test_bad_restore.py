"""`syncd restore` with bad input: one clear line, the documented exit code, nothing half-written."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from syncd.envelope.kit import BEGIN
from syncd.format.names import GENERATIONS
from tests.e2e.conftest import Kept
from tests.e2e.process import Zygote
from tests.e2e.support import Site
from tests.e2e.table import Desk, Row, check
from tests.support.damage import flipped

LOCAL = ("--from", "local")
Change = Callable[[Path], object]


def restore(*options: object, kit: bool = True, name: str = "chat") -> Callable[[Desk], Sequence[object]]:
    """The arguments of a restore that would be fine but for `options`."""

    def prepare(desk: Desk) -> Sequence[object]:
        site = desk.kept.site
        return (
            "restore",
            name,
            "--config",
            site.config,
            *(site.kit_options if kit else ()),
            "--to",
            desk.to,
            *options,
        )

    return prepare


def passphrase(content: bytes | None) -> Callable[[Desk], Sequence[object]]:
    def prepare(desk: Desk) -> Sequence[object]:
        path = desk.path / "passphrase"
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        options = ("--identity", desk.kept.site.kit, "--passphrase-file", path)
        return restore(*options, kit=False)(desk)

    return prepare


def kit(change: Callable[[Desk, str], str | None]) -> Callable[[Desk], Sequence[object]]:
    """With another kit; `change` gets the right one."""

    def prepare(desk: Desk) -> Sequence[object]:
        path = desk.path / "kit"
        text = change(desk, desk.kept.site.kit.read_text())
        if text is not None:
            path.write_text(text)
        options = ("--identity", path, "--passphrase-file", desk.kept.site.passphrase)
        return ("restore", "--archive", desk.kept.site.archive.as_uri(), *options, "--to", desk.to)

    return prepare


def kit_of_another(desk: Desk, _: str) -> str:
    return Site(desk.path / "other", {"chat": desk.path / "chat.db"}).kit.read_text()


def damaged(text: str) -> str:
    head, begin, block = text.partition(BEGIN)
    start = block.index("identity:") + 40
    return head + begin + block[:start] + ("A" if block[start] != "A" else "B") + block[start + 1 :]


def archive(kind: str, number: int, change: Change, *options: object) -> Callable[[Desk], Sequence[object]]:
    """With an archive in which the object `number` of its kind was changed."""

    def prepare(desk: Desk) -> Sequence[object]:
        copy = shutil.copytree(desk.kept.site.archive, desk.path / "archive")
        (generation,) = (copy / "chat" / GENERATIONS).iterdir()
        change(sorted((generation / kind).iterdir())[number])
        return ("restore", "--archive", copy.as_uri(), *desk.kept.site.kit_options, "--to", desk.to, *options)

    return prepare


def flip(at: int) -> Change:
    def change(path: Path) -> None:
        path.write_bytes(flipped(path.read_bytes(), at))

    return change


def newer(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[6] += 1  # the version, see FORMAT.md
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_archive(make: Callable[[Path], object], below: str = "") -> Callable[[Desk], Sequence[object]]:
    def prepare(desk: Desk) -> Sequence[object]:
        path = desk.path / "other"
        make(path)
        url = (path / below).as_uri()
        return ("restore", "--archive", url, *desk.kept.site.kit_options, "--to", desk.to)

    return prepare


def there_already(suffix: str) -> Callable[[Desk], Sequence[object]]:
    def prepare(desk: Desk) -> Sequence[object]:
        desk.to.with_name(desk.to.name + suffix).write_text("theirs")
        return restore()(desk)

    return prepare


def into(where: str) -> Callable[[Desk], Sequence[object]]:
    return lambda desk: restore("--to", desk.path / where)(desk)


def piece(desk: Desk) -> Sequence[object]:
    """A seq in the middle of a large transaction."""
    return restore(*LOCAL, "--seq", desk.kept.points[-2].seq + 1)(desk)


def target_without_name(desk: Desk) -> Sequence[object]:
    return ("restore", *desk.kept.site.kit_options, "--from", "second", "--to", desk.to)


def shadow_of_nothing(desk: Desk) -> Sequence[object]:
    site = Site(desk.path / "site", {"chat": desk.path / "chat.db"})
    return ("restore", "chat", "--config", site.config, "--from", "shadow", "--to", desk.to)


def both_options(desk: Desk) -> Sequence[object]:
    return restore("--seq", 1, "--at", "2026-11-23T10:00:00Z")(desk)


ROWS = (
    Row("wrong passphrase", passphrase(b"something else\n"), 12, ("passphrase does not open",)),
    Row("no passphrase file", passphrase(None), 10, ("passphrase", "No such file")),
    Row("empty passphrase file", passphrase(b"\n"), 10, ("first line is empty",)),
    Row("binary passphrase file", passphrase(b"\xff\xfe\n"), 10, ("not UTF-8",)),
    Row("no passphrase", restore("--identity", __file__, kit=False), 12, ("recovery kit",)),
    Row("no kit", restore(kit=False), 12, ("needs the recovery kit",)),
    Row("kit of another archive", kit(kit_of_another), 12, ("is not the kit of this archive", "kit")),
    Row("missing kit", kit(lambda *_: None), 12, ("kit", "No such file")),
    Row("no kit but a text", kit(lambda *_: "Dear diary\n"), 12, ("recovery kit", "BEGIN")),
    Row("kit cut off", kit(lambda _, text: text[:-60]), 12, ("recovery kit", "cut off")),
    Row("damaged kit", kit(lambda _, text: damaged(text)), 12, ("identity is damaged",)),
    Row("newer kit", kit(lambda _, text: text.replace("version: 1", "version: 2")), 18, ("version",)),
    Row(
        "time before the first snapshot", restore(*LOCAL, "--at", "2001-01-01"), 16, ("2001-01-01T00:00:00",)
    ),
    Row("time before all times", restore("--at", "0001-01-01T00:00:00+23:00"), 10, ("--at", "not a time")),
    Row("time that is none", restore("--at", "yesterday"), 10, ("--at yesterday",)),
    Row("time and seq", both_options, 10, ("--at and --seq",)),
    Row("seq in the future", restore(*LOCAL, "--seq", 999_999), 16, ("seq 999999",)),
    Row("seq beyond all numbers", restore(*LOCAL, "--seq", 1 << 80), 16, ("seq",)),
    Row("seq inside a transaction", piece, 16, ("not a position that can be restored",)),
    Row(
        "unknown generation",
        restore(*LOCAL, "--generation", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        16,
        ("01ARZ3NDEK",),
    ),
    Row("generation that is none", restore(*LOCAL, "--generation", "../x"), 16, ("no generation ../x",)),
    Row("existing file", there_already(""), 17, ("restored.db exists",)),
    Row("stale wal", there_already("-wal"), 17, ("restored.db-wal exists",)),
    Row("stale shm", there_already("-shm"), 17, ("restored.db-shm exists",)),
    Row("stale journal", there_already("-journal"), 17, ("restored.db-journal exists",)),
    Row("no directory", into("nowhere/x.db"), 10, ("nowhere does not exist",)),
    Row("directory as result", into("to"), 10, ("is a directory",)),
    Row("file as directory", into("kit/x.db"), 10, ("kit does not exist",)),
    Row("damaged pack", archive("packs", 0, flip(100)), 15, ("/packs/",)),
    Row("damaged delta", archive("deltas", 1, flip(-1)), 15, ("/deltas/0000000000000002",)),
    Row("damaged head of deltas", archive("deltas", 1, flip(0)), 15, ("/deltas/0000000000000002",)),
    Row("damaged manifest", archive("snapshots", 0, flip(60)), 15, ("/snapshots/0000000000000000",)),
    Row("damaged epoch", archive("epochs", 0, flip(-1)), 15, ("/epochs/00000001",)),
    Row("cut delta", archive("deltas", 1, cut), 15, ("/deltas/0000000000000002",)),
    Row("empty delta", archive("deltas", 1, empty), 15, ("/deltas/0000000000000002",)),
    Row("empty manifest", archive("snapshots", 0, empty), 15, ("/snapshots/0000000000000000",)),
    Row("missing pack", archive("packs", 0, Path.unlink), 15, ("/packs/", "is missing from file://")),
    Row("missing delta", archive("deltas", 1, Path.unlink), 15, ("deltas 2 to 2",)),
    Row("missing epoch", archive("epochs", 0, Path.unlink), 15, ("/epochs/00000001 is missing",)),
    Row("missing manifest", archive("snapshots", 0, Path.unlink), 16, ("no complete snapshot",)),
    Row("newer manifest", archive("snapshots", 0, newer), 18, ("/snapshots/", "version 2")),
    Row("newer deltas", archive("deltas", 0, newer), 18, ("/deltas/", "version 2")),
    Row("newer epoch", archive("epochs", 0, newer), 18, ("/epochs/", "version 2")),
    Row("no archive", other_archive(Path.mkdir), 16, ("holds no archive",)),
    Row("archive that is not there", other_archive(lambda _: None), 16, ("holds no archive",)),
    Row("disk that is not mounted", other_archive(lambda _: None, "below/x"), 14, ("does not exist",)),
    Row("archive that is a file", other_archive(Path.touch), 14, ("other",)),
    Row("another database", restore(name="forum"), 10, ("'forum'",)),
    Row("another target", restore("--from", "moon"), 10, ("'moon'",)),
    Row("target without a name", target_without_name, 10, ("--from second",)),
    Row("archive of no kind", restore("--archive", "ftp://host/x"), 10, ("ftp",)),
    Row("archive and target", restore("--archive", "file:///x", "--from", "local"), 10, ("exclude",)),
    Row("shadow of nothing", shadow_of_nothing, 19, ("state.db",)),
    Row("shadow and time", restore("--from", "shadow", "--at", "2026-01-01"), 10, ("--at",)),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_it_is_one_line_and_nothing_is_left(row: Row, kept: Kept, tmp_path: Path, quick: Zygote) -> None:
    check(row, kept, tmp_path, quick)
