"""How what syncd takes grows with the database and with the rate of messages.

    python -m tests.bench.growth [--to 5GB] [--rates 1,10,100,1000,10000] [--store file|s3] [--tools syncd]
        [--seconds 15] [--rounds 1] [--out DIR]
    python -m tests.bench.growth --slice

- Sizes: 10 MB, 100 MB, ... up to `--to`, each at 200 messages a second. Rates: each on a 100 MB database.
- A run is `versus_steady.steady`: bytes and CPU for each message, lag, memory while the writer writes, and
  a restore, compared with the database.
- Prints two tables, and writes `growth.json`, `growth.md`, and plots as PNG and SVG to `--out`.
- The slope is that of a line through the points, both axes logarithmic: 0 does not grow, 1 grows as the
  size (the rate) does. What has no business to grow with the size is marked where its slope is above 0.15.
- Exit 1 where a restore did not give the database. Plots and `--tools Litestream` need the `bench` extra.
"""

import argparse
import json
import math
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from syncd.config.units import parse_size
from tests.bench import versus_steady as steady
from tests.bench.growth_plots import plot
from tests.bench.stats import median, print_table
from tests.bench.versus_report import OURS
from tests.bench.versus_scenarios import TOOLS, Context, tool
from tests.bench.versus_sizes import Templates
from tests.bench.versus_steady import Record
from tests.bench.versus_tools import open_place
from tests.campaigns.rig import scratch

MEASURES = {
    "bytes_per_message": "bytes for a message",
    "cpu_ms_per_message": "CPU for a message, ms",
    "lag_p50_s": "lag p50, s",
    "lag_p99_s": "lag p99, s",
    "steady_peak_mb": "RSS, MB",
    "restore_seconds": "restore, s",
}
_MAY_GROW = {"restore_seconds"}
_FLAT = 0.15
_TERMINATED = 143
_RATE = 200.0
_MEGABYTES = 100
_FEWEST = 30  # messages of a run, however slow the writer is


@dataclass(frozen=True, slots=True)
class Point:
    """One run: of which tool, at which size (MB) and rate (messages a second, as it was), and its numbers."""

    tool: str
    megabytes: int
    rate: float
    numbers: Mapping[str, float]


def run(context: Context, side: str, *, megabytes: int, rate: float, seconds: float, rounds: int) -> Point:
    """The medians over the rounds."""
    records = [_once(context, side, megabytes, rate, max(seconds, _FEWEST / rate)) for _ in range(rounds)]
    numbers = {key: median([record[key] for record in records]) for key in records[0]}
    numbers["right"] = min(record["right"] for record in records)
    print(f"{side}, {megabytes} MB, {rate:g} messages/s", file=sys.stderr)
    return Point(side, megabytes, round(numbers["tx_per_s"], 1), numbers)


def _once(context: Context, side: str, megabytes: int, rate: float, seconds: float) -> Record:
    with scratch("growth") as directory:
        record = steady.steady(tool(side, context, directory, megabytes), rate=rate, seconds=seconds)
    return record | {"cpu_ms_per_message": 1000 * record["cpu_seconds"] / record["messages"]}


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line of least squares through the logarithms; 0.0 of fewer than two different points."""
    points = [(math.log(x), math.log(y)) for x, y in zip(xs, ys, strict=True) if x > 0 and y > 0]
    if len({x for x, _ in points}) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    over = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return over / sum((x - middle_x) ** 2 for x, _ in points)


def sizes_up_to(most: int) -> list[int]:
    """Megabytes: 10, 100, 1000, ..., and the last one itself."""
    return [size for size in (10**power for power in range(1, 8)) if size < most] + [most]


def table(points: Sequence[Point], *, by: str) -> list[list[str]]:
    """A row for each tool and measure: its values along the points, and its slope."""
    rows = []
    for side in dict.fromkeys(point.tool for point in points):
        own = [point for point in points if point.tool == side]
        xs = [float(getattr(point, by)) for point in own]
        for key, label in MEASURES.items():
            ys = [point.numbers[key] for point in own]
            steep = slope(xs, ys)
            mark = " grows" if by == "megabytes" and key not in _MAY_GROW and steep > _FLAT else ""
            rows.append(
                [
                    f"{side}: {label}",
                    *(f"{y:,.3g}" if y < 1000 else f"{y:,.0f}" for y in ys),
                    f"{steep:+.2f}{mark}",
                ]
            )
    return rows


def heads(points: Sequence[Point], *, by: str) -> list[str]:
    xs = dict.fromkeys(getattr(point, by) for point in points if point.tool == points[0].tool)
    unit = "MB" if by == "megabytes" else "/s"
    return ["", *(f"{x:,g} {unit}" for x in xs), "slope"]


def markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return f"{title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def measure(
    sides: Sequence[str],
    store: str,
    *,
    sizes: Sequence[int],
    rates: Sequence[float],
    seconds: float,
    rounds: int,
    keep: Callable[[Sequence[Point], Sequence[Point]], None],
) -> tuple[list[Point], list[Point]]:
    """Along the sizes, and along the rates; `keep` is given all that there is so far after each run."""
    by_size: list[Point] = []
    by_rate: list[Point] = []
    small = min(_MEGABYTES, max(sizes))
    with scratch("growth-templates") as directory, open_place(store) as place:
        context = Context(store=store, place=place, templates=Templates(directory))
        for side in sides:
            for points, size, rate in (
                *((by_rate, small, rate) for rate in rates),
                *((by_size, size, _RATE) for size in sizes),
            ):
                points.append(run(context, side, megabytes=size, rate=rate, seconds=seconds, rounds=rounds))
                keep(by_size, by_rate)
    return by_size, by_rate


def titles(store: str) -> dict[str, str]:
    """Of the two tables, by what their points are along."""
    return {
        "megabytes": f"with the size, {_RATE:g} messages a second, {store}",
        "rate": f"with the rate, a database of {_MEGABYTES} MB at most, {store}",
    }


def write(out: Path, by_size: Sequence[Point], by_rate: Sequence[Point], store: str) -> None:
    """Everything that there is, to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    text, plain = "", {}
    for points, (by, title) in zip((by_size, by_rate), titles(store).items(), strict=True):
        plain[by] = [asdict(point) for point in points]
        if points:
            text += markdown(title, heads(points, by=by), table(points, by=by))
            axis = "MB" if by == "megabytes" else "messages a second"
            xs = [float(getattr(point, by)) for point in points]
            plot(points, xs, MEASURES, title=axis, stem=out / f"growth-{by}")
    (out / "growth.md").write_text(text)
    (out / "growth.json").write_text(json.dumps(plain, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth")
    parser.add_argument("--to", default="5GB", help="size of the largest database")
    parser.add_argument("--rates", default="1,10,100,1000,10000", help="messages a second")
    parser.add_argument("--store", choices=("file", "s3"), default="s3")
    parser.add_argument("--tools", choices=TOOLS, nargs="+", default=[OURS])
    parser.add_argument("--seconds", type=float, default=15.0, help="that the writer writes in a run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--slice", action="store_true", help="small and quick: that it runs")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # what was started ends with us
    sizes = sizes_up_to(round(parse_size(args.to) / 1e6))
    rates = [float(rate) for rate in args.rates.split(",")]
    if args.slice:
        sizes, rates, args.seconds, args.store = [2, 8], [400.0], 1.0, "file"
    out = args.out or Path(tempfile.mkdtemp(prefix="syncd-growth-out-"))
    by_size, by_rate = measure(
        args.tools,
        args.store,
        sizes=sizes,
        rates=rates,
        seconds=args.seconds,
        rounds=args.rounds,
        keep=lambda by_size, by_rate: write(out, by_size, by_rate, args.store),
    )
    for points, (by, title) in zip((by_size, by_rate), titles(args.store).items(), strict=True):
        print_table(title, heads(points, by=by), table(points, by=by))
    print(f"written to {out}")
    return 0 if all(point.numbers["right"] for point in (*by_size, *by_rate)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
