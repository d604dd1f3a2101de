"""Where scores start: accuracy with the task given (GG), as JSON.

    python benchmarks/starts.py --data DIR [--benchmarks NAME ...] [--starts START ...]
        [--batches N ...] [--tasks N] [--seeds S ...]
    python benchmarks/starts.py --table    # of the rows in FILE

Each row has the figures of one `supsup run BENCHMARK --scenario GG --network lenet-300-100
--mask-init START --batches N`. The first task starts at random whatever the start (but for "ones"
and "shared"), so `later` is the mean accuracy of all others. Rows are written as they come; what
stands in FILE is not made again.
"""

import argparse
from pathlib import Path
from typing import Any

from common import FIGURES, Quiet, figures, read_json, write_json

from supsup_bridge import Experiment, RunSettings
from supsup_bridge.continual.settings import INITS


def row_of(given: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """The figures of one run."""
    experiment = Experiment(RunSettings(**given), data=data)
    experiment.run(Quiet(say=False))
    row = figures(experiment, given, FIGURES)
    later = row["accuracy_per_task"][1:]
    return {**row, "later": sum(later) / len(later)}


def table(done: list[dict[str, Any]]) -> str:
    """Means over the seeds, a line for each benchmark and number of batches, a column a start."""
    groups: dict[tuple[str, int, int], dict[str, list[float]]] = {}
    for row in done:
        options = row["options"]
        key = options["benchmark"], options["tasks"], options["batches"]
        groups.setdefault(key, {}).setdefault(options["mask_init"], []).append(row["later"])
    lines = [
        f"| benchmark | tasks | batches | {' | '.join(INITS)} | seeds |",
        "|---" * (len(INITS) + 4) + "|",
    ]
    for key, starts in sorted(groups.items()):
        means = [
            f"{sum(starts[start]) / len(starts[start]):.4f}" if start in starts else "–"
            for start in INITS
        ]
        seeds = str(max(map(len, starts.values())))
        lines.append(f"| {' | '.join([*map(str, key), *means, seeds])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmarks", nargs="+", default=["rotated-mnist", "permuted-mnist"])
    add("--starts", nargs="+", choices=INITS, default=INITS)
    add("--batches", type=int, nargs="+", default=[25, 100])
    add("--tasks", type=int, default=8)
    add("--seeds", type=int, nargs="+", default=[0])
    add("--out", type=Path, default=Path("benchmarks/starts.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    common = {"scenario": "GG", "network": "lenet-300-100", "tasks": options.tasks}
    for benchmark in options.benchmarks:
        for seed in options.seeds:
            for batches in options.batches:
                for start in options.starts:
                    given = {"benchmark": benchmark, "mask_init": start, "batches": batches}
                    given |= {"seed": seed, "evaluate_every": options.tasks, **common}
                    done = read_json(options.out)
                    if any(row["options"] == given for row in done):
                        continue
                    row = row_of(given, options.data)
                    write_json(options.out, [*done, row])
                    print(given, f"{row['accuracy']:.4f} {row['later']:.4f}", flush=True)


if __name__ == "__main__":
    main()
