"""`HttpProxy` as a process of its own, and how a test talks to it.

    python -m tests.torture.proxy UPSTREAM_PORT [SEED]

- The first line on stdout is its port, on 127.0.0.1. It passes on to UPSTREAM_PORT on 127.0.0.1.
- Each line on stdin is a JSON object, and is answered by one line of JSON on stdout, once it holds.
- `{"latency_ms": 50, "error": 0.3, "codes": [429, 500, 503]}` changes settings of
  `tests.support.httpproxy.Settings`, which says what each does; those not named stay. Answer: `{"ok": true}`.
- `{"clear": true}` sets them all back to nothing first; it may stand beside others.
- `{"count": true}` is answered by `{"requests": {"PUT": 3}, "faults": {"error": 1, "503": 1},
  "open": 2, "lost": ["/bucket/name"]}`: since the start, but for the connections open now. `lost` are
  the PUTs that `lost_put` reported as kept; a name may be put again later, and be there then.
- What is wrong with a line is said: `{"ok": false, "error": "..."}`; then nothing of it holds.
- It ends with its stdin.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.httpproxy import HttpProxy

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class ProxyProcess:
    """A proxy that runs."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, **settings: object) -> None:
        """Change settings; it holds when this returns. Raises ValueError."""
        answer = self._say(settings)
        if not answer.get("ok"):
            raise ValueError(answer["error"])

    def clear(self, **settings: object) -> None:
        """Nothing but `settings`."""
        self.set(clear=True, **settings)

    def counts(self) -> dict[str, Any]:
        """See the module."""
        return self._say({"count": True})

    def _say(self, request: dict[str, object]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextlib.contextmanager
def proxied(upstream_port: int, *, seed: int = 0) -> Iterator[ProxyProcess]:
    """A proxy before a server on 127.0.0.1, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.proxy", str(upstream_port), str(seed)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield ProxyProcess(process, int(process.stdout.readline()))


async def answer_to(proxy: HttpProxy, line: str) -> dict[str, object]:
    """Do what a line says."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise TypeError("a line is a JSON object")  # noqa: TRY301 -- as every other wrong line
        if request.pop("count", False):
            return proxy.counts()
        await proxy.set(**request)
    except (ValueError, TypeError) as e:
        return {"ok": False, "error": str(e)}
    return {"ok": True}


async def _main(port: int, seed: int) -> None:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with HttpProxy(port, seed=seed) as proxy:
        print(proxy.port, flush=True)
        while line := await stdin.readline():
            print(json.dumps(await answer_to(proxy, line.decode())), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
