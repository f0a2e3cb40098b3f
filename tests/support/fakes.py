"""What tests put in the place of time, the log and the keys."""

import asyncio
from dataclasses import dataclass, field

from typing_extensions import override

from syncd.clock import Clock
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey
from syncd.log import Event
from syncd.replica import Sealing

IDENTITY = Identity.generate(Kem.X25519)
SIGNING_KEY = SigningKey.generate()
SEALING = Sealing(SIGNING_KEY, (IDENTITY.recipient,))
START_MS = 1_790_000_000_000


@dataclass
class FakeClock(Clock):
    """Time stands still but for `sleep`, which moves it at once and notes how far."""

    ms: int = START_MS
    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)

    @override
    def now_ms(self) -> int:
        return self.ms

    @override
    def monotonic(self) -> float:
        return self.seconds

    @override
    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        self.seconds += seconds


@dataclass
class Recorder:
    """A Log that keeps what it is told."""

    lines: list[tuple[Event, dict[str, object]]] = field(default_factory=list)

    def __call__(self, event: Event, /, **fields: object) -> None:
        self.lines.append((event, fields))

    def of(self, event: Event) -> list[dict[str, object]]:
        """The fields of every line of this event."""
        return [fields for each, fields in self.lines if each is event]
