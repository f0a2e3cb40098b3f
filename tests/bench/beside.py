"""What the daemon costs the application beside it.

    python -m tests.bench.beside [--seconds 60] [--rounds 3] [--rate 200] [--store file|s3] [--json]

- Rounds: a writer at full speed (no pause between transactions) alone, and beside the daemon, each on a new
  database; which comes first changes with every round. Then one run beside the daemon at `--rate`.
- After every run beside the daemon the archive is restored and compared with the database.
- Exit 1 where a restored file is not identical; nothing else is judged: speed depends on the machine.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.side import Alone, Beside, run_alone, run_beside
from tests.bench.stats import median, percentile, print_table
from tests.campaigns.rig import open_depot, scratch


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """All runs."""

    alone: list[Alone]
    beside: list[Beside]
    steady: Beside

    @property
    def identical(self) -> bool:
        return all(run.identical for run in (*self.beside, self.steady))


def measure(store: str, *, seconds: float, rounds: int, rate: float, max_delay: float) -> Measured:
    """Everything, on one store."""
    alone: list[Alone] = []
    beside: list[Beside] = []
    with open_depot("directory" if store == "file" else store) as depot:

        def one(*, with_daemon: bool) -> None:
            with scratch("beside") as directory:
                if with_daemon:
                    beside.append(
                        run_beside(
                            directory / directory.name, depot, seconds=seconds, rate=0, max_delay=max_delay
                        )
                    )
                else:
                    alone.append(run_alone(directory / "alone", seconds=seconds, rate=0))

        for number in range(rounds):
            first = bool(number % 2)
            one(with_daemon=first)
            one(with_daemon=not first)
        with scratch("beside") as directory:
            steady = run_beside(
                directory / directory.name, depot, seconds=seconds, rate=rate, max_delay=max_delay
            )
    return Measured(alone, beside, steady)


def compared(measured: Measured, of: Callable[[Alone], float]) -> dict[str, Any]:
    """Median, least and most without and with the daemon; the ratio of the medians."""
    without = [of(run) for run in measured.alone]
    beside = [of(run.writer) for run in measured.beside]
    return {
        "alone": _spread(without),
        "beside": _spread(beside),
        "ratio": round(median(beside) / median(without), 3) if median(without) else None,
    }


def summary(measured: Measured) -> dict[str, Any]:
    """The numbers that are asked for, as plain data."""
    return {
        "throughput_tx_per_s": compared(measured, lambda run: run.tx_per_s),
        "p50_us": compared(measured, lambda run: run.p50_us),
        "p99_us": compared(measured, lambda run: run.p99_us),
        "full_speed": [_run(run) for run in measured.beside],
        "steady": _run(measured.steady),
        "identical": measured.identical,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _run(run: Beside) -> dict[str, Any]:
    fields = dataclasses.asdict(run)
    lag = fields.pop("lag_ms")
    return fields | {"lag_ms_median": median(lag), "lag_ms_p99": percentile(lag, 99)}


def show(numbers: dict[str, Any], title: str) -> None:
    """Two tables: the writer without and with the daemon, and what the daemon did."""
    rows: list[list[object]] = []
    for name in ("throughput_tx_per_s", "p50_us", "p99_us"):
        for who in ("alone", "beside"):
            spread = numbers[name][who]
            ratio = numbers[name]["ratio"] if who == "beside" else ""
            rows.append([f"{name} {who}", spread["median"], spread["min"], spread["max"], str(ratio)])
    print_table(f"the writer, {title}", ("", "median", "min", "max", "ratio"), rows)
    runs = [*numbers["full_speed"], numbers["steady"]]
    names = [name for name in runs[0] if name not in {"writer", "comparisons"}]
    daemon = [["messages", *(run["writer"]["transactions"] for run in runs)]]
    daemon += [[name, *(run[name] for run in runs)] for name in names]
    columns = [*(f"full {number}" for number in range(1, len(runs))), "steady"]
    print_table("the daemon", ("", *columns), daemon)
    for column, run in zip(columns, runs, strict=True):
        print(f"compared ({column}): {'; '.join(run['comparisons'])}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.beside")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="of the steady run, messages per second")
    parser.add_argument("--max-delay", type=float, default=5.0, help="of a batch, seconds")
    parser.add_argument("--store", choices=("file", "s3"), default="file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured = measure(
        args.store, seconds=args.seconds, rounds=args.rounds, rate=args.rate, max_delay=args.max_delay
    )
    numbers = summary(measured)
    if args.json:
        print(json.dumps(numbers, indent=2))
    else:
        show(numbers, f"{args.rounds} rounds of {args.seconds:g} s, {args.store}")
    return 0 if measured.identical else 1


if __name__ == "__main__":
    raise SystemExit(main())
