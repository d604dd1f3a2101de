"""SplitMNIST with every way of recall: the figures of the README's table, as JSON.

    python benchmarks/split_mnist.py --data DIR [--seeds 0 1 2] [--out FILE]
    python benchmarks/split_mnist.py --table    # of the rows in FILE, as in the README

Each row has the figures of one `supsup run split-mnist` with the options that stand in it. Runs
that differ in the recall alone learn the same masks, so these are trained once and the last
evaluation is made anew; `seconds.total` of the first row of each memory is that of a whole run.
Rows are written as they come.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from supsup_bridge import Experiment, RunSettings, Task

KEPT = (
    "accuracy",
    "accuracy_per_task",
    "accuracy_given_task",
    "task_inference_accuracy",
    "exact_recall_rate",
    "masks_allocated",
    "bytes",
    "recall",
    "seconds",
    "versions",
)


class Silent:
    """An observer that says nothing."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        pass

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        pass

    def learned(self, task: Task, number: int) -> None:
        pass


def runs(seeds: list[int]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """A run's options, and what is recalled anew from its memory with other ones."""
    both = {"recall": "both", "infer_samples": 64}
    others = [
        {"recall": "entropy", "infer_samples": 64},
        {"recall": "address", "infer_samples": 64},
        {"recall": "both", "infer_samples": 1},
        {"recall": "entropy", "infer_samples": 1},
    ]
    for seed in seeds:
        yield {"masks": "hashed", "seed": seed, **both}, others
        yield {"masks": "unit", "seed": seed, **both}, others
        yield {"masks": "unit", "network": "paper", "seed": seed}, []


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
        "| masks | network | recall | images | exact recall | accuracy | task told | steps |",
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
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/split_mnist.json"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.out.read_text())))
        return
    done: list[dict[str, Any]] = []
    for first, others in runs(options.seeds):
        experiment = Experiment(RunSettings(benchmark="split-mnist", **first), data=options.data)
        experiment.run(Silent())
        for change in ({}, *others):
            if change:
                experiment.settings = replace(experiment.settings, **change)
                experiment.samples = change["infer_samples"]
                experiment.evaluate(Silent())
            result = experiment.result()
            row = {**first, **change}
            done.append({"options": row, **{key: result[key] for key in KEPT}})
            options.out.write_text(json.dumps(done, indent=1) + "\n")
            print(
                row,
                f"exact {result['exact_recall_rate']:.3f}, accuracy {result['accuracy']:.4f}, "
                f"task told {result['accuracy_given_task']:.4f}, "
                f"steps at most {result['recall']['steps_max']}, "
                f"{result['seconds']['total']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
