"""The scenarios of the comparison: what is run for each side, and what is asked of the numbers.

- `run` takes one tool beside one database; `others` are sides that are no tools; `whole` gives all sides.
- The bounds are those of the issue, on the medians: of syncd to the peer, or of syncd alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import versus_sizes as sizes
from tests.bench import versus_steady as steady
from tests.bench.versus_peer import Litestream
from tests.bench.versus_report import OURS, PEER, Measure, Of
from tests.bench.versus_sizes import Templates
from tests.bench.versus_steady import Record
from tests.bench.versus_syncd import Syncd
from tests.bench.versus_tools import Place, Tool
from tests.campaigns.rig import scratch

TOOLS: dict[str, type[Tool]] = {OURS: Syncd, PEER: Litestream}
_SMALL = 100
_ZSTD = "zstd and openssl"
_ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Context:
    """What scenarios need: a place to store, databases, and how much of everything."""

    store: str
    place: Place
    templates: Templates
    times: float = 1.0
    megabytes: int = 0
    gigabytes: float = 1.0
    deltas: int = 10_000
    patient: bool = True

    @property
    def large(self) -> int:
        """Megabytes of a large database."""
        return round(self.gigabytes * 1000)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Exactly one of `run` and `whole` is given."""

    measures: tuple[Measure, ...]
    run: Callable[[Context, Tool], Record] | None = None
    megabytes: Callable[[Context], int] = lambda context: context.megabytes
    others: Mapping[str, Callable[[Context, Path], Record]] = field(default_factory=dict)
    whole: Callable[[Context, Path], Mapping[str, Record]] | None = None
    by_itself: bool = False  # runs only when it is asked for

    def round(self, context: Context, *, backwards: bool) -> dict[str, Record]:
        """One record of every side, one side after the other."""
        if self.whole:
            with scratch("versus") as directory:
                return dict(self.whole(context, directory))
        sides = list({**TOOLS, **self.others})
        return {side: self._side(context, side) for side in (reversed(sides) if backwards else sides)}

    def _side(self, context: Context, side: str) -> Record:
        with scratch("versus") as directory:
            if side in self.others:
                return self.others[side](context, directory)
            assert self.run
            return self.run(context, tool(side, context, directory, self.megabytes(context)))


def tool(side: str, context: Context, directory: Path, megabytes: int) -> Tool:
    """A tool beside a database of that size, 0 for one with empty tables."""
    template = context.templates.get(megabytes) if megabytes else None
    made = TOOLS[side](directory, steady.prepare(directory, template), context.place)
    made.patient = context.patient
    return made


def _steady(rate: float, seconds: float, bytes_bound: float, *more: Measure) -> Scenario:
    return Scenario(
        (
            Measure("bytes_per_message", "bytes uploaded per message", bytes_bound, digits=0),
            Measure("sync_bytes_per_message", "of these, without compaction", digits=0),
            Measure("wire_bytes_per_message", "bytes on the wire per message", digits=0),
            Measure("requests_per_minute", "requests a minute", 1.0, digits=0),
            Measure("lists", "LIST requests", 0, Of.OWN, digits=0),
            Measure("lag_p50_s", "lag p50, s", 1.0, digits=3),
            Measure("lag_p99_s", "lag p99, s", 1.0, digits=3),
            Measure("writer_p99_us", "writer p99, ms", scale=1000),
            Measure("cpu_percent", "CPU, % of a core", 2.0 if rate == _USUAL else None),
            Measure("peak_mb", "peak RSS, MB", 110 if rate == _USUAL else None, Of.OWN, digits=0),
            Measure("comparisons", "log lost, compared", digits=0),
            Measure("restore_seconds", "restore, s"),
            *more,
        ),
        run=lambda context, tool: steady.steady(tool, rate=rate, seconds=seconds * context.times),
    )


def _large(context: Context, _directory: Path) -> dict[str, Record]:
    """First snapshot and restore of a small database and of a large one."""
    records = {}
    for side in TOOLS:
        small, large = (_first(context, side, size) for size in (_SMALL, context.large))
        growth = {f"{key}_growth": large[key] / small[key] for key in ("peak_mb", "restore_peak_mb")}
        records[side] = large | growth
    return records


def _first(context: Context, side: str, megabytes: int) -> Record:
    with scratch("versus") as own:
        return sizes.first(tool(side, context, own, megabytes))


def _compressed(context: Context, directory: Path) -> Record:
    return sizes.compressed(directory, context.templates.get(context.large))


def _restore(context: Context, directory: Path) -> dict[str, Record]:
    return sizes.restore(directory, megabytes=context.large, deltas=context.deltas, store=context.store)


_USUAL = 200
_RIGHT = (
    Measure("restore_seconds", "restore, s"),
    Measure("restore_peak_mb", "restore, peak RSS, MB", digits=0),
)

SCENARIOS: dict[str, Scenario] = {
    "steady-2": _steady(2, 60, 0.15),
    "steady-200": _steady(_USUAL, 100, 0.18),
    "steady-2000": _steady(2000, 10, 0.50),
    "full-speed": Scenario(
        (
            Measure("tx_per_s", "writer, transactions a second", 1.0, Of.AT_LEAST, digits=0),
            Measure("writer_p99_us", "writer p99, ms", 1.0, scale=1000, digits=3),
            Measure("bytes_per_message", "bytes uploaded per message", digits=0),
            Measure("lists", "LIST requests", 0, Of.OWN, digits=0),
            Measure("cpu_seconds", "CPU seconds"),
            Measure("peak_mb", "peak RSS, MB", digits=0),
        ),
        run=lambda context, tool: steady.steady(tool, rate=0, seconds=10 * context.times),
        others={_ALONE: lambda context, directory: steady.alone(directory, seconds=10 * context.times)},
    ),
    "idle": Scenario(
        (
            Measure("requests", "requests", 0, Of.OWN, digits=0),
            Measure("cpu_percent", "CPU, % of a core", 2.0, digits=3),
            Measure("peak_mb", "peak RSS, MB", digits=0),
        ),
        run=lambda context, tool: steady.idle(tool, seconds=60 * context.times),
    ),
    "snapshot": Scenario(
        (
            Measure("bytes", "second snapshot, 1 % more messages, MB", 0.10, scale=1e6, digits=1),
            Measure("first_bytes", "first snapshot, MB", scale=1e6, digits=1),
            Measure("seconds", "second snapshot, s"),
        ),
        run=lambda _context, tool: sizes.second_snapshot(tool, share=0.01),
        megabytes=lambda context: context.large,
    ),
    "absent": Scenario(
        (Measure("bytes", "after 10 minutes at 200 messages/s, MB", 0.05, scale=1e6, digits=1), *_RIGHT),
        run=lambda context, tool: sizes.absent(tool, rate=_USUAL * context.times),
        megabytes=lambda context: context.large,
    ),
    "first": Scenario(
        (
            Measure("snapshot_seconds", "first snapshot, s", 1.3, peer=_ZSTD),
            Measure("seconds", "from the start to the first snapshot, s"),
            Measure("cpu_seconds", "CPU seconds"),
            Measure("bytes", "bytes uploaded, MB", scale=1e6, digits=1),
            Measure("peak_mb", "peak RSS, MB", digits=0),
            *_RIGHT,
        ),
        run=lambda _context, tool: sizes.first(tool),
        megabytes=lambda context: context.large,
        others={_ZSTD: _compressed},
    ),
    "restore": Scenario(
        (
            Measure("seconds", "restore, s", 1.0),
            Measure("peak_mb", "peak RSS, MB", digits=0),
            Measure("cpu_seconds", "CPU seconds"),
        ),
        whole=_restore,
    ),
    "large": Scenario(
        (
            Measure("peak_mb", "first snapshot, peak RSS, MB", 1.0, digits=0),
            Measure("restore_peak_mb", "restore, peak RSS, MB", 1.0, digits=0),
            Measure("peak_mb_growth", f"first snapshot, peak RSS against {_SMALL} MB"),
            Measure("restore_peak_mb_growth", f"restore, peak RSS against {_SMALL} MB"),
            Measure("seconds", "first snapshot, s"),
            Measure("restore_seconds", "restore, s"),
        ),
        whole=_large,
        by_itself=True,
    ),
}
