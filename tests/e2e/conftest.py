"""What the end-to-end tests share: an archive with a known history."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.application import Application
from tests.e2e.process import Zygote, running
from tests.e2e.support import Point, Site, keep_truth


@dataclass(frozen=True, slots=True)
class Kept:
    """A history that is stored on two targets, `local` and `second`; its daemon has ended.

    `points` are all its boundaries; the seqs between the last two are pieces of one large transaction.
    """

    site: Site
    database: Path
    points: tuple[Point, ...]

    @property
    def last(self) -> Point:
        return self.points[-1]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    directory = tmp_path_factory.mktemp("kept")
    database = directory / "app" / "chat.db"
    database.parent.mkdir()
    second = directory / "second"
    site = Site(
        directory / "site",
        {"chat": database},
        {
            "local": f'url = "{(directory / "site" / "archive").as_uri()}"',
            "second": f'url = "{second.as_uri()}"',
        },
    )
    points: list[Point] = []
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body)")

        def keep() -> None:
            truth = keep_truth(database, directory / "truth", str(len(points)))
            chain = site.wait_stored(truth).chain
            assert chain is not None
            points.append(Point(chain.seq, chain.captured_ms, truth.read_bytes()))

        with running(site.config) as daemon:
            keep()
            for text in ("first", "second", "third"):
                application.execute("INSERT INTO message (body) VALUES (?)", (text * 50,))
                keep()
            application.execute("INSERT INTO message (body) VALUES (randomblob(400000))")
            keep()
            assert daemon.end().code == 0
    assert points[-1].seq > points[-2].seq + 2, "the large transaction is in pieces"
    return Kept(site, database, tuple(points))


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Commands for next to nothing."""
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    database = tmp_path / "app" / "chat.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE message (body)")
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        yield Application(Site(tmp_path / "site", {"chat": database}), database, connection, scratch)
