"""SplitMNIST with every way of recall: the figures of the README's table, as JSON.

    python benchmarks/split_mnist.py --data DIR [--seeds 0 1 2] [--out FILE]

Each row is one `supsup run split-mnist` with the options that stand in it; rows are written as they
come, and rows that the file holds already are not run again.
"""

import argparse
import json
from collections.abc import Iterator
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


def rows(seeds: list[int]) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        for masks in ("hashed", "unit"):
            yield {"masks": masks, "recall": "both", "infer_samples": 64, "seed": seed}
            yield {"masks": masks, "recall": "entropy", "infer_samples": 64, "seed": seed}
    for seed in seeds:
        for masks in ("hashed", "unit"):
            yield {"masks": masks, "recall": "both", "infer_samples": 1, "seed": seed}
            yield {"masks": masks, "recall": "entropy", "infer_samples": 1, "seed": seed}
        yield {"masks": "unit", "network": "paper", "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/split_mnist.json"))
    options = parser.parse_args()
    done = json.loads(options.out.read_text()) if options.out.exists() else []
    for row in rows(options.seeds):
        if any(entry["options"] == row for entry in done):
            continue
        experiment = Experiment(RunSettings(benchmark="split-mnist", **row), data=options.data)
        experiment.run(Silent())
        result = experiment.result()
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
