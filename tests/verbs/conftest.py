from pathlib import Path

import pytest

from tests.verbs.bench import Bench
from tests.verbs.prunable import Archive


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)", "INSERT INTO t (a) VALUES (randomblob(9000))"
    )
    return bench


@pytest.fixture
def archive() -> Archive:
    made = Archive()
    made.days(10)
    return made
