"""Thousands of tasks of permuted-mnist in one Hopfield memory, inferred from one image; JSON.

    python benchmarks/many_tasks.py --data DIR [--tasks N] [--hubs K] [--jobs N] [--seed S]
        [--scenario GNu|NNs] [--minutes M] [--runs DIRECTORY]
    python benchmarks/many_tasks.py --table    # of the rows in FILE

A row has the figures of `supsup run permuted-mnist --objective G --recall entropy
--infer-samples 1`, LeNet 300-100, one mask per task, masks deleted: the curve over the number of
tasks, bytes, hours, and what a task cost around the 100th and the 2,400th: the median of the time
between two that were learned, without those between which the curve was measured. GNu is trained by
`--jobs` worker processes, NNs by the run itself. `--minutes` ends a run in time; the same command
continues it, also one that was killed. A row that stands in FILE is not made again.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from common import FIGURES, continued, read_json, write_json

from supsup_bridge import RunSettings, Task, Workers
from supsup_bridge.runs.checkpoint import Checkpoints

COSTS = (100, 2400)  # tasks around which the cost of one is taken
WINDOW = 50  # tasks on either side
KEY = ("benchmark", "scenario", "tasks", "hubs", "batches", "seed", "workers")


class Clock:
    """An observer that prints every tenth task, and notes in a file when each one was learned.

    Args:
        path: lines of JSON: number of the task, seconds since the one before, and whether tasks
            were scored for the curve in between.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._scored = path, 0
        self._last: float | None = None  # the first task of a session has workers to wait for

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None: ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        self._scored += 1
        if number % 10 == 0:
            print(f"    task {number} after {after + 1}: {accuracy:.4f}", flush=True)

    def learned(self, task: Task, number: int) -> None:
        now = time.monotonic()
        if self._last is not None:
            line = {"task": number, "seconds": now - self._last, "curve": self._scored > 1}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        self._last, self._scored = now, 0
        if (number + 1) % 10 == 0:
            print(f"  {number + 1} tasks", flush=True)


def pause_until(end: float, checkpoints: Checkpoints) -> Callable[[], None]:
    """Keep the run's state as always; from a time on, end it there."""

    def pause() -> None:
        checkpoints.stop = checkpoints.stop or time.monotonic() > end
        checkpoints()

    return pause


def costs(path: Path) -> dict[str, float]:
    """Median seconds of a task around those of `COSTS`, as far as the run came."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {}
    for task in COSTS:
        near = [
            line["seconds"]
            for line in lines
            if abs(line["task"] - task) <= WINDOW and not line["curve"]
        ]
        if len(near) > WINDOW:
            found[str(task)] = median(near)
    return found


def settings_of(options: argparse.Namespace) -> RunSettings:
    free = options.scenario == "NNs"
    return RunSettings(
        benchmark=options.benchmark,
        scenario=options.scenario,
        tasks=options.tasks,
        hubs=options.hubs,
        recall="entropy",
        objective="G",
        infer_samples=1,
        batches=options.batches,
        seed=options.seed,
        workers=not free,
        tasks_at_once=1 if free else None,
        device="cpu",
    )


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        "| scenario | tasks | hubs | seed | accuracy | task given | exact | masks | memory, GB "
        "| hours | s per task, around 100 | around 2,400 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        run, cost = row["run"], row["cost"]
        cells = [
            *(run["scenario"], str(run["tasks"]), str(run["hubs"]), str(run["seed"])),
            *(f"{row['accuracy']:.4f}", f"{row['accuracy_given_task']:.4f}"),
            *(f"{row['exact_recall_rate']:.4f}", str(row["masks_allocated"])),
            f"{row['bytes']['memory'] / 1e9:.2f}",
            f"{row['seconds']['total'] / 3600:.1f}",
            *(f"{cost[str(task)]:.2f}" if str(task) in cost else "" for task in COSTS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmark", default="permuted-mnist")
    add("--scenario", default="GNu", choices=("GNu", "NNs"))
    add("--tasks", type=int, default=2500)
    add("--hubs", type=int, default=4096)
    add("--batches", type=int, help="training steps of a task (default: the benchmark's)")
    add("--jobs", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--minutes", type=float, default=float("inf"))
    add("--runs", type=Path, default=Path("runs/many_tasks"))
    add("--out", type=Path, default=Path("benchmarks/many_tasks.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    settings = settings_of(options)
    run = {name: getattr(settings, name) for name in KEY}
    if any(row["run"] == run for row in read_json(options.out)):
        print(f"{run} stands in {options.out}")
        return
    end = time.monotonic() + 60 * options.minutes
    folder = options.runs / "-".join(str(value) for value in run.values())
    with continued(settings, folder, data=options.data) as (experiment, checkpoints):
        clock = Clock(folder / "learned.jsonl")
        workers = Workers(jobs=options.jobs, engine="loky") if settings.workers else None
        try:
            experiment.run(clock, pause=pause_until(end, checkpoints), workers=workers)
        except KeyboardInterrupt:
            print(f"stopped after {len(experiment.names())} tasks: the same command continues it")
            return
        checkpoints.write()
    result = experiment.result()
    row = {"run": run, "cost": costs(folder / "learned.jsonl"), "curve": result["curve"]}
    row |= {name: result[name] for name in FIGURES if name != "accuracy_per_task"}
    write_json(options.out, [*read_json(options.out), row])
    print(table([row]))


if __name__ == "__main__":
    main()
