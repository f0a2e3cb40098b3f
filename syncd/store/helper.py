"""A process that gets objects for another one: `python -m syncd.store.helper`, started by `helped`.

- stdin: a line of JSON, the arguments of `open_store`; then a line for each name.
- stdout: a header when it is ready; then, as they come, for each name a header and the object.
- It ends with its input, so with the process that started it.
"""

import asyncio
import json
import signal
import sys

from syncd.errors import StoreError
from syncd.heap import collect_rarely
from syncd.store.helped import FAILED, HEADER
from syncd.store.target import open_store


async def _main() -> None:
    loop = asyncio.get_running_loop()
    names = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(names), sys.stdin)
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    store = open_store(**json.loads(await names.readline()))
    collect_rarely()
    out.write(HEADER.pack(0, 0))

    async def get(number: int, name: str) -> None:
        try:
            data = await store.get(name)
        except StoreError:
            out.write(HEADER.pack(number, FAILED))
        else:
            out.write(HEADER.pack(number, len(data)) + data)

    number = 0
    tasks: set[asyncio.Task[None]] = set()
    while line := await names.readline():
        task = asyncio.create_task(get(number, line.decode().strip()))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    asyncio.run(_main())
