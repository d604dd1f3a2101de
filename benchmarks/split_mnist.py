"""SplitMNIST with every way of recall: the figures of the README's table, as JSON.

    python benchmarks/split_mnist.py --data DIR [--seeds 0 1 2] [--kinds weight ...] [--out FILE]
    python benchmarks/split_mnist.py --table    # of the rows in FILE, as in the README
    python benchmarks/split_mnist.py --benchmark split-digits --kinds weight \
        --seeds 0 1 2 3 4 5 6 7 8 9 --out benchmarks/split_digits.json

Each row has the figures of one `supsup run split-mnist` with the options that stand in it. Runs
that differ in the recall alone learn the same masks, so these are trained once and the last
evaluation is made anew; `seconds.total` of the first row of each memory is that of a whole run.
Rows are written as they come, after those of FILE that are of other kinds of masks.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import FIGURES, Quiet, figures, read_json, write_json

from supsup_bridge import Experiment, RunSettings

KINDS = ("weight", "signed", "hashed", "unit", "paper")


def runs(options: argparse.Namespace) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """A run's options, and other ways of recall for the memory of that run."""
    both = {"recall": "both", "infer_samples": 64}
    others = [
        {"recall": "entropy", "infer_samples": 64},
        {"recall": "address", "infer_samples": 64},
        {"recall": "both", "infer_samples": 1},
        {"recall": "entropy", "infer_samples": 1},
    ]
    given = {"tasks": options.tasks, "batches": options.batches, "bits": options.bits}
    for seed in options.seeds:
        for kind in options.kinds:
            small = {name: value for name, value in given.items() if value is not None}
            if kind in ("weight", "signed"):
                small.pop("bits", None)
            common = {"benchmark": options.benchmark, "seed": seed, **small}
            if kind == "paper":
                yield {"masks": "unit", "network": "paper", **common}, []
            else:
                yield {"masks": kind, **common, **both}, others


def kind_of(row: dict[str, Any]) -> str:
    """The kind of masks of a row."""
    options = row["options"]
    return "paper" if options.get("network") == "paper" else str(options["masks"])


def table(done: list[dict[str, Any]]) -> str:
    """Means over the seeds, a line for each way of recall."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for entry in done:
        options = entry["options"]
        network = options.get("network", "standard")
        samples = "64 at each step" if network == "paper" else str(options["infer_samples"])
        key = (options["masks"], network, options.get("recall", "entropy"), samples)
        groups.setdefault(key, []).append(entry)
    lines = [
        "| masks | network | recall | images | exact recall | accuracy | task given | steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, entries in groups.items():
        means = [
            sum(entry[name] for entry in entries) / len(entries)
            for name in ("exact_recall_rate", "accuracy", "accuracy_given_task")
        ]
        figures = [f"{means[0]:.3f}", *(f"{mean:.4f}" for mean in means[1:])]
        steps = max(entry["recall"]["steps_max"] for entry in entries)
        lines.append(f"| {' | '.join([*key, *figures, str(steps)])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--kinds", nargs="+", choices=KINDS, default=KINDS)
    add("--benchmark", default="split-mnist")
    add("--tasks", type=int, help="fewer tasks, for a look")
    add("--batches", type=int, help="training steps per task, for a look")
    add("--bits", type=int, help="mask bits or hidden units per layer, for a look")
    add("--out", type=Path, default=Path("benchmarks/split_mnist.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    done = [row for row in read_json(options.out) if kind_of(row) not in options.kinds]
    quiet = Quiet(say=False)
    for first, others in runs(options):
        experiment = Experiment(RunSettings(**first), data=options.data)
        experiment.run(quiet)
        for change in ({}, *others):
            if change:
                experiment.change_inference(replace(experiment.settings, **change))
                experiment.evaluate(quiet)
            row = figures(experiment, {**first, **change}, FIGURES)
            done.append(row)
            write_json(options.out, done)
            print(
                row["options"],
                f"exact {row['exact_recall_rate']:.3f}, accuracy {row['accuracy']:.4f}, "
                f"task given {row['accuracy_given_task']:.4f}, "
                f"steps at most {row['recall']['steps_max']}, "
                f"{row['seconds']['total']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
