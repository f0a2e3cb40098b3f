"""A process that seals under one epoch, begins another, and waits: what does its memory still hold?

Prints the two secrets, masked: a plain copy of the old one would be found.
"""

import asyncio
import sys
from pathlib import Path

from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.replica import Sealing
from syncd.ship import Shipper
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.bench import Bench

MASK = 0x5A


async def _main(directory: Path) -> None:
    bench = Bench(directory)
    bench.sql("CREATE TABLE message (body)", "INSERT INTO message VALUES (zeroblob(300000))")
    async with bench.replica() as replica:
        hybrid = Identity.generate(Kem.MLKEM768_X25519)
        replica.sealing = Sealing(SIGNING_KEY, (IDENTITY.recipient, hybrid.recipient))
        await bench.capture(replica)
        old = bytes(byte ^ MASK for byte in (await replica.key()).secret)
        bench.sql("INSERT INTO message VALUES (1)")
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        bench.sql("INSERT INTO message VALUES (2)")
        await bench.capture(replica)
        await shipper.ship()
        await shipper.snapshot("asked for")
        await replica.rotate()
        running = bytes(byte ^ MASK for byte in (await replica.key()).secret)
        sys.stdout.write(f"{old.hex()}\n{running.hex()}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
