from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.source.app import App
from tests.source.rig import Rig


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The application's database."""
    directory = tmp_path / "app"
    directory.mkdir()
    return directory / "chat.db"


@pytest.fixture
def start_app(path: Path) -> Iterator[Callable[[], App]]:
    apps: list[App] = []

    def start() -> App:
        apps.append(App(path))
        return apps[-1]

    yield start
    for app in apps:
        app.kill()


@pytest.fixture
def app(start_app: Callable[[], App]) -> App:
    return start_app()


@pytest.fixture
def make_rig(path: Path, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**settings: int) -> Rig:
        rigs.append(Rig(path, tmp_path / f"rig{len(rigs)}", **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()
