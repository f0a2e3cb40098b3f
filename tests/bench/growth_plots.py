"""The plots of `tests.bench.growth`: a panel for each measure.

- The axis below is logarithmic. The axis of a measure begins at 0, so that what is flat looks flat, unless
  its values are further than tenfold apart: then it is logarithmic too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.bench.versus_report import save

_COLUMNS = 3
_APART = 10


class Point(Protocol):
    """What is plotted."""

    @property
    def tool(self) -> str: ...
    @property
    def numbers(self) -> Mapping[str, float]: ...


def plot(
    points: Sequence[Point], xs: Sequence[float], labels: Mapping[str, str], *, title: str, stem: Path
) -> list[Path]:
    """One line for each tool in each panel. Raises ImportError without the `bench` extra."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- an extra, and slow to import

    count = -(-len(labels) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 3 * count), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(count, _COLUMNS).flat, labels.items(), strict=False):
        for side in dict.fromkeys(point.tool for point in points):
            along = [(x, p.numbers[key]) for x, p in zip(xs, points, strict=True) if p.tool == side]
            axes.plot(*zip(*along, strict=True), marker="o", label=side)
        axes.set_xscale("log")
        values = [p.numbers[key] for p in points]
        if min(values) > 0 and max(values) > _APART * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0, top=1.15 * max(values))
        axes.set_title(label)
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
        axes.legend()
    return save(figure, stem)
