"""How applications write: each style is a generator that yields the seconds until its next step.

- A style leaves no transaction open where it yields, unless its point is a reader that stays.
- It is ended by closing the generator, at any yield, and then undoes what it set.
- Every SQLite error that a style meets is the harness's to judge: none is caught here.
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from random import Random
from typing import Final

from tests.torture.ledger import Ledger

Steps = Generator[float, None, None]
Style = Callable[[Ledger, Random], Steps]

_AUTOCHECKPOINT: Final = 1000
_REST_EVERY: Final = 2.0
_REST_SECONDS: Final = 0.5


def single(ledger: Ledger, rng: Random) -> Steps:
    """One row in each transaction, at a steady pace."""
    rate = rng.choice((20, 100, 300))
    while True:
        ledger.post(1, rng)
        yield 1 / rate


def steady(rate: int) -> Style:
    """One row in each transaction, so many a second on the clock."""

    def style(ledger: Ledger, rng: Random) -> Steps:
        due = time.monotonic()
        while True:
            ledger.post(1, rng)
            due += 1 / rate
            yield max(0.0, due - time.monotonic())

    return style


def bursts(ledger: Ledger, rng: Random) -> Steps:
    """Some hundred transactions at full speed, then silence."""
    while True:
        for _ in range(rng.randint(50, 500)):
            ledger.post(rng.randint(1, 3), rng)
        yield rng.uniform(0.3, 1.5)


def bulk(ledger: Ledger, rng: Random) -> Steps:
    """An import, all in one transaction; then a steady pace, which also takes the imported away again."""
    ledger.post(ledger.bulk_bytes // 4000, rng, size=4000)
    yield from single(ledger, rng)


def reader(ledger: Ledger, rng: Random) -> Steps:
    """Readers that stay for seconds: checkpoints stop at them, and the WAL grows."""
    while True:
        with closing(ledger.connect()) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM messages").fetchall()
            for _ in range(rng.randint(50, 400)):
                ledger.post(1, rng)
                yield 0.005


def eager(ledger: Ledger, rng: Random) -> Steps:
    """A checkpoint after each commit."""
    while True:
        ledger.post(rng.randint(1, 5), rng)
        ledger.checkpoint("PASSIVE")
        yield 0.01


def truncating(ledger: Ledger, rng: Random) -> Steps:
    """TRUNCATE checkpoints, with the time-out that applications use: how long they wait is recorded."""
    with ledger.patient():
        while True:
            for _ in range(rng.randint(1, 40)):
                ledger.post(1, rng)
            ledger.checkpoint("TRUNCATE")
            yield rng.uniform(0.0, 0.1)


def restarting(ledger: Ledger, rng: Random) -> Steps:
    """RESTART checkpoints and a limit on the journal's size."""
    ledger.execute(f"PRAGMA journal_size_limit = {rng.choice((0, 65536))}")
    try:
        with ledger.patient():
            while True:
                for _ in range(rng.randint(10, 200)):
                    ledger.post(1, rng)
                ledger.checkpoint("RESTART")
                yield rng.uniform(0.0, 0.2)
    finally:
        ledger.execute("PRAGMA journal_size_limit = -1")


def tiny(ledger: Ledger, rng: Random) -> Steps:
    """`wal_autocheckpoint = 10`, at full speed."""
    ledger.execute("PRAGMA wal_autocheckpoint = 10")
    try:
        while True:
            for _ in range(20):
                ledger.post(1, rng)
            yield 0.001
    finally:
        ledger.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT}")


def manual(ledger: Ledger, rng: Random) -> Steps:
    """No automatic checkpoint: who else writes to the database file, then?"""
    ledger.execute("PRAGMA wal_autocheckpoint = 0")
    try:
        while True:
            ledger.checkpoint("PASSIVE")
            before = _stamp(ledger)
            for _ in range(rng.randint(20, 200)):
                ledger.post(1, rng)
                yield 0.005
            if _stamp(ledger) != before:
                ledger.complain("somebody else wrote to the database file: a checkpoint that is not ours")
    finally:
        ledger.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT}")


def reopening(ledger: Ledger, rng: Random) -> Steps:
    """The last connection closed, and the database opened again, all the time."""
    while True:
        for _ in range(rng.randint(1, 60)):
            ledger.post(1, rng)
            yield 0.003
        ledger.reopen()


def vacuuming(ledger: Ledger, rng: Random) -> Steps:
    """VACUUM now and then, between commits."""
    while True:
        for _ in range(rng.randint(50, 200)):
            ledger.post(1, rng)
            yield 0.01
        ledger.execute("VACUUM")


def attaching(ledger: Ledger, rng: Random) -> Steps:
    """A second database attached, transactions over both, and detached again."""
    while True:
        with ledger.attached():
            for _ in range(rng.randint(5, 50)):
                ledger.post(1, rng, also="INSERT INTO other.notes VALUES (NULL, 'x')")
                yield 0.01


def silent(_ledger: Ledger, _rng: Random) -> Steps:
    """Nothing at all."""
    while True:
        yield 1.0


WAL_STYLES: Final[dict[str, Style]] = {
    style.__name__: style
    for style in (
        *(single, bursts, bulk, reader, eager, truncating, restarting),
        *(tiny, manual, reopening, vacuuming, attaching, silent),
    )
}
# A reader of the application's own would make its commits fail in a rollback mode; WAL pragmas say nothing.
ROLLBACK_STYLES: Final = ("single", "bursts", "bulk", "reopening", "vacuuming", "attaching")


def _stamp(ledger: Ledger) -> tuple[int, int]:
    """What a checkpoint changes; asked for in a quiet moment of the application."""
    found = os.stat(ledger.path)  # noqa: PTH116 - closing a descriptor of the file would drop SQLite's locks
    return found.st_mtime_ns, found.st_size


def run_style(name: str, ledger: Ledger, rng: Random, told: Callable[[float], bool]) -> None:
    """Write in this style, or `steady RATE`, until `told(seconds)`, which waits so long, says to end.

    Where there is no WAL, a capture needs a moment without a write, long enough to read the file (README,
    "What is guaranteed, and what is not"): at hundreds of transactions a second in a file of 20 MB there is
    none but the one made here.
    """
    kind, _, rate = name.partition(" ")
    steps = (steady(int(rate)) if rate else WAL_STYLES[kind])(ledger, rng)
    rest = time.monotonic() + _REST_EVERY
    with closing(steps):
        for pause in steps:
            if ledger.mode == "delete" and time.monotonic() >= rest:
                resting = max(pause, _REST_SECONDS)
                rest = time.monotonic() + resting + _REST_EVERY
            else:
                resting = pause
            if told(resting):
                return
