"""What a run did and found, for the table at its end."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """Of all profiles together. `worst` keeps maxima by what was measured."""

    faults: Counter[str] = field(default_factory=Counter)
    skipped: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    resumed: dict[str, float] = field(default_factory=dict)
    restores: int = 0
    identical: int = 0
    positions: int = 0
    commits: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def blame(self, sentence: str) -> None:
        self.wrong.append(sentence)
        print(f"VIOLATION: {sentence}", flush=True)

    def measure(self, what: str, value: float) -> None:
        self.worst[what] = max(self.worst.get(what, 0.0), value)


def slowest(of: dict[str, float], name: str, seconds: float) -> None:
    """Keep the largest by name."""
    of[name] = max(of.get(name, 0.0), seconds)
