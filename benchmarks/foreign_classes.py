"""Images of classes that were never learned: how many a learner takes for its own; as JSON.

    python benchmarks/foreign_classes.py --data DIR [--seeds 0 1 2] [--images N] [--out FILE]
    python benchmarks/foreign_classes.py --table    # of the rows in FILE

Split-mnist has five tasks of two digits. One of them is left out in turn, the others are learned
with the settings of `supsup run split-mnist`, and `predict` is asked for test images of all five,
each by itself. `recognized` of an image of the task left out is a mistake, `recognized` False of
another one a false alarm. The content address sees pixels or patches, and keeps a mean of each
task or of each class. No setting was chosen by these figures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import read_json, spread, write_json

from supsup_bridge import SupSup, Task
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.runs.presets import preset

WAYS: dict[str, dict[str, Any]] = {
    "pixels, a mean of each task": {},
    "pixels, a mean of each class": {"signature_groups": 2},
    "patches, a mean of each class": {"signature_groups": 2, "signature": "patches"},
}


def learner_of(benchmark: str, tasks: Sequence[Task], way: str, seed: int) -> SupSup:
    """A learner as the benchmark's run makes it, which has learned the tasks."""
    usual = preset(benchmark, "weight")
    learner = SupSup(
        usual.network,
        inputs=tasks[0].train_images.shape[1],
        outputs=usual.outputs,
        training=usual.training,
        signature_features=usual.features,
        seed=seed,
        **WAYS[way],
    )
    for task in tasks:
        learner.learn(task)
    return learner


def row_of(run: dict[str, Any], tasks: Sequence[Task], images: int) -> dict[str, Any]:
    """Shares of images that are recognized; `run` says of which learner."""
    own = [task for number, task in enumerate(tasks) if number != run["left_out"]]
    learner = learner_of(run["benchmark"], own, run["way"], run["seed"])
    found = [learner.predict(task.scored_images[:images]) for task in own]
    foreign = learner.predict(tasks[run["left_out"]].scored_images[:images])
    right = [one.recognized & (one.task == number) for number, one in enumerate(found)]
    return {
        "run": run,
        "images": len(foreign),
        "own_recognized": sum(float(one.recognized.double().mean()) for one in found) / len(own),
        "own_recognized_and_right": sum(float(one.double().mean()) for one in right) / len(own),
        "foreign_recognized": float(foreign.recognized.double().mean()),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each way: mean, and half of the 95 % interval, over tasks left out and seeds."""
    names = ("own_recognized", "own_recognized_and_right", "foreign_recognized")
    lines = [
        "| benchmark | content address | own images recognized | and of the right task "
        "| foreign images recognized | runs |",
        "|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys((row["run"]["benchmark"], row["run"]["way"]) for row in rows)
    for kind in kinds:
        mine = [row for row in rows if (row["run"]["benchmark"], row["run"]["way"]) == kind]
        cells = [spread([row[name] for row in mine]) for name in names]
        lines.append(f"| {' | '.join([*kind, *cells, str(len(mine))])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmark", default="split-mnist", choices=("split-mnist", "split-digits"))
    add("--tasks", type=int, default=5)
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--images", type=int, default=256, help="of each task")
    add("--out", type=Path, default=Path("benchmarks/foreign_classes.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    for seed in options.seeds:
        tasks = task_stream(options.benchmark, seed=seed, tasks=options.tasks, data=options.data)[
            : options.tasks
        ]
        for left_out in range(options.tasks):
            for way in WAYS:
                run = {"benchmark": options.benchmark, "seed": seed, "left_out": left_out}
                run = {**run, "way": way, "tasks": options.tasks}
                done = read_json(options.out)
                if any(row["run"] == run for row in done):
                    continue
                row = row_of(run, tasks, options.images)
                write_json(options.out, [*done, row])
                print(row, flush=True)


if __name__ == "__main__":
    main()
