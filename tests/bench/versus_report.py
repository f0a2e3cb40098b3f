"""What the comparison says: rows with bounds, a table for people, Markdown, and plots.

- A row is one number of one scenario: median, least and most over the rounds for each side, and the ratio of
  the medians, syncd's to the peer's.
- A bound is on that ratio, or on syncd's own median where it says so; `holds` is None where there is none.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from tests.bench.stats import median, print_table
from tests.bench.versus_steady import Record

OURS = "syncd"
PEER = "Litestream"
Runs = Mapping[str, Sequence[Record]]


class Of(Enum):
    """What a bound is on."""

    RATIO = auto()
    AT_LEAST = auto()  # the ratio, from below
    OWN = auto()


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of a scenario: its key in the records, what people call it, and its bound."""

    key: str
    label: str
    bound: float | None = None
    of: Of = Of.RATIO
    digits: int = 2
    scale: float = 1.0  # people read the record's number divided by this
    peer: str = PEER


@dataclass(frozen=True, slots=True)
class Spread:
    """Over the rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Row:
    scenario: str
    store: str
    measure: Measure
    sides: dict[str, Spread]
    ratio: float | None

    @property
    def holds(self) -> bool | None:
        """Raises KeyError where syncd was not measured."""
        bound = self.measure.bound
        if bound is None:
            return None
        if self.measure.of is Of.OWN:
            return self.sides[OURS].median <= bound
        if self.ratio is None:
            return None
        return self.ratio >= bound if self.measure.of is Of.AT_LEAST else self.ratio <= bound


def rows_of(scenario: str, store: str, measures: Sequence[Measure], runs: Runs) -> list[Row]:
    """A row for each measure that syncd's records have."""
    rows = []
    for measure in measures:
        sides = {
            side: _spread([record[measure.key] / measure.scale for record in records])
            for side, records in runs.items()
            if records and all(measure.key in record for record in records)
        }
        if OURS in sides:
            rows.append(Row(scenario, store, measure, sides, _ratio(sides, measure.peer)))
    return rows


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _ratio(sides: Mapping[str, Spread], peer: str) -> float | None:
    if peer not in sides or not sides[peer].median:
        return None
    return sides[OURS].median / sides[peer].median


def cells(row: Row) -> list[str]:
    """As people read it: scenario, measure, syncd, Litestream, others, ratio, bound, whether it holds."""
    others = [f"{side} {_text(row, side)}" for side in row.sides if side not in {OURS, PEER}]
    to = "" if row.measure.peer == PEER else f" to {row.measure.peer}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.{3 if row.ratio < 0.1 else 2}f}{to}"
    return [
        f"{row.scenario}, {row.store}",
        row.measure.label,
        _text(row, OURS),
        _text(row, PEER) if PEER in row.sides else "-",
        "; ".join(others),
        ratio,
        _bound(row.measure),
        {True: "yes", False: "NO", None: ""}[row.holds],
    ]


HEAD = ("scenario", "measure", "syncd", "Litestream", "others", "ratio", "bound", "holds")


def _text(row: Row, side: str) -> str:
    spread, digits = row.sides[side], row.measure.digits
    middle = f"{spread.median:,.{digits}f}"
    if spread.least == spread.most:
        return middle
    return f"{middle} ({spread.least:,.{digits}f} to {spread.most:,.{digits}f})"


def _bound(measure: Measure) -> str:
    if measure.bound is None:
        return ""
    return {
        Of.RATIO: f"{measure.bound:g}",
        Of.AT_LEAST: f"at least {measure.bound:g}",
        Of.OWN: f"syncd {measure.bound:g}",
    }[measure.of]


def show(title: str, rows: Sequence[Row]) -> None:
    """On stdout."""
    print_table(title, HEAD, [cells(row) for row in rows])


def markdown(rows: Sequence[Row]) -> str:
    """The same table."""
    lines = [HEAD, ("---",) * len(HEAD), *(cells(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(rows: Sequence[Row]) -> list[dict[str, object]]:
    """For JSON."""
    return [
        {
            "scenario": row.scenario,
            "store": row.store,
            "measure": row.measure.key,
            "sides": {side: dataclasses.asdict(spread) for side, spread in row.sides.items()},
            "ratio": row.ratio,
            "bound": row.measure.bound,
            "bound_on": row.measure.of.name.lower(),
            "holds": row.holds,
        }
        for row in rows
    ]


def plot(rows: Sequence[Row], out: Path) -> list[Path]:
    """Ratios as bars, with a mark at each bound: a PNG and an SVG. Raises ImportError without the extra."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- an extra, and slow to import

    shown = [row for row in rows if row.ratio is not None and row.ratio > 0]
    figure = Figure(figsize=(10, 1.2 + 0.32 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    # On a logarithmic axis bars begin at 1: to the left is less than the other, to the right more.
    axes.barh(places, [(row.ratio or 0.0) - 1 for row in shown], left=1, color=[_color(row) for row in shown])
    axes.set_yticks(places, [f"{row.scenario}, {row.store}: {row.measure.label}" for row in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.8)
    for place, row in zip(places, shown, strict=True):
        if row.measure.bound and row.measure.of is not Of.OWN:
            axes.plot([row.measure.bound] * 2, [place - 0.45, place + 0.45], color="black", linewidth=2)
    axes.set_xlabel("syncd / Litestream (bar) and bound (mark); green: holds, red: does not, grey: no bound")
    axes.margins(y=0.01)
    axes.grid(axis="x", which="both", alpha=0.3)
    return save(figure, out / "versus")


def _color(row: Row) -> str:
    return {True: "tab:green", False: "tab:red", None: "tab:gray"}[row.holds]


def save(figure: object, stem: Path) -> list[Path]:
    """As PNG and as SVG."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- as above

    assert isinstance(figure, Figure)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for path in paths:
        figure.savefig(path, dpi=120)
    return paths
