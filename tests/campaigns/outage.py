"""A day without the target: what waits, what it takes to catch up, and what can be restored then.

    python -m tests.campaigns.outage [--batches 17280] [--outbox-mib 4] [--seed 1]

- 17,280 batches are a day at one every five seconds: each a few messages of a chat with an index, and a
  receipt somewhere.
- During the outage the daemon tries again and again. Its outbox is measured after each batch.
- Afterwards all that it sends is counted, and the newest state is restored and compared.
"""

import argparse
import asyncio
import dataclasses
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from syncd.contents import read_contents
from syncd.errors import StoreUnavailable
from syncd.log import Event
from syncd.ship import Shipper
from syncd.state import STATE_FILE, read_status
from syncd.store.wrap import MeteredStore, Usage
from tests.support.fakes import SIGNING_KEY
from tests.support.faultstore import Fault, FaultStore
from tests.verbs.bench import NAME, Bench

_TRY_EVERY = 50  # batches
_SCHEMA = (
    "CREATE TABLE message (id INTEGER PRIMARY KEY, room, body, seen)",
    "CREATE INDEX by_room ON message (room, id)",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one outage; bytes, deltas and requests.

    `most` waited at any moment, `sealed` all there were; `dropped` from the outbox, and `given_up` with them,
    by `status`. `usage` is what catching up took. `exact` says whether the newest state came back.
    """

    batches: int
    sealed: int
    most: int
    dropped: int
    given_up: int
    usage: Usage
    snapshots: int
    bundles: int
    exact: bool
    seconds: float


class _Chat:
    def __init__(self, bench: Bench, seed: int) -> None:
        self._bench, self._rng, self._next = bench, random.Random(seed), 0

    def begin(self, messages: int) -> None:
        with closing(sqlite3.connect(self._bench.path, isolation_level=None)) as connection:
            for statement in ("PRAGMA synchronous = off", *_SCHEMA, "BEGIN"):
                connection.execute(statement)
            self._post(connection, messages)
            connection.execute("COMMIT")

    def batch(self) -> None:
        with closing(sqlite3.connect(self._bench.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = off")
            connection.execute("BEGIN")
            self._post(connection, self._rng.randint(1, 4))
            connection.execute(
                "UPDATE message SET seen = ? WHERE id = ?",
                (self._rng.getrandbits(30), self._rng.randint(1, self._next)),
            )
            connection.execute("COMMIT")

    def _post(self, connection: sqlite3.Connection, count: int) -> None:
        for _ in range(count):
            self._next += 1
            words = " ".join(f"{self._rng.getrandbits(20):x}" for _ in range(self._rng.randint(4, 40)))
            room = self._rng.randint(1, 40)
            connection.execute("INSERT INTO message (room, body) VALUES (?, ?)", (room, words))


async def outage(directory: Path, *, batches: int, outbox_bytes: int, seed: int, messages: int) -> Outcome:
    """So many batches while the target is away, and then it is back."""
    bench = Bench(directory)
    chat = _Chat(bench, seed)
    chat.begin(messages)
    started = time.monotonic()
    async with bench.replica() as replica:
        replica.outbox_bytes = outbox_bytes
        await bench.capture(replica)
        await bench.ship(replica)
        metered = MeteredStore(bench.store())
        away = FaultStore(metered)
        shipper = Shipper(replica, "main", away)
        await shipper.ship()
        before = _copy(metered.usage)
        replicator = bench.replicator(replica)
        sealed, most = 0, 0
        for number in range(batches):
            chat.batch()
            while not await replicator.catch_up(patience=1.0):
                pass
            bench.clock.advance(5)
            (waiting,) = (await replica.state._connection.rows("SELECT coalesce(sum(size), 0) FROM delta"))[0]
            most = max(most, waiting)
            if number % _TRY_EVERY == 0:
                away._faults[away.calls + 1] = Fault.FAIL
                try:
                    await shipper.ship()
                except StoreUnavailable:
                    continue
        await replicator.close()
        sealed = sum(int(str(line["sealed_bytes"])) for line in bench.log.of(Event.DELTA_SEALED))
        (target,) = read_status(bench.state / STATE_FILE).targets
        trimmed = sum(int(str(line["deltas"])) for line in bench.log.of(Event.OUTBOX_TRIMMED))
        stored = len(bench.log.of(Event.SNAPSHOT_STORED)), len(bench.log.of(Event.DELTAS_STORED))
        assert metered.usage == before, "nothing came through"
        await shipper.ship()
        assert replica.chain is not None
        assert (await replica.state.target("main")).stored == replica.chain.seq
    contents = await read_contents(bench.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    assert len(contents.generations) == 1
    usage = _copy(metered.usage)
    return Outcome(
        batches,
        sealed,
        most,
        trimmed,
        target.given_up,
        Usage(
            puts=usage.puts - before.puts,
            gets=usage.gets - before.gets,
            lists=usage.lists - before.lists,
            deletes=usage.deletes - before.deletes,
            put_bytes=usage.put_bytes - before.put_bytes,
        ),
        len(bench.log.of(Event.SNAPSHOT_STORED)) - stored[0],
        len(bench.log.of(Event.DELTAS_STORED)) - stored[1],
        (await bench.restore())[1] == bench.path.read_bytes(),
        time.monotonic() - started,
    )


def _copy(usage: Usage) -> Usage:
    return dataclasses.replace(usage)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.outage")
    parser.add_argument("--batches", type=int, default=17_280)
    parser.add_argument("--outbox-mib", type=float, default=4)
    parser.add_argument("--messages", type=int, default=100_000, help="before the outage")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="syncd-outage-") as directory:
        outcome = asyncio.run(
            outage(
                Path(directory),
                batches=args.batches,
                outbox_bytes=round(args.outbox_mib * (1 << 20)),
                seed=args.seed,
                messages=args.messages,
            )
        )
    print(outcome)
    return 0 if outcome.exact else 1


if __name__ == "__main__":
    raise SystemExit(main())
