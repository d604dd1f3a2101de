"""Thousands of tasks of permuted-mnist in one Hopfield memory, inferred from one image; JSON.

    python benchmarks/many_tasks.py --data DIR [--tasks N] [--hubs K] [--jobs N] [--seed S]
        [--scenario GNu|NNs] [--train-in bfloat16] [--minutes M] [--runs DIRECTORY]
    python benchmarks/many_tasks.py --table    # of the rows in FILE

A row has the figures of `supsup run permuted-mnist --objective G --recall entropy
--signature-features 0 --infer-samples 1` (NNs: with a content address), LeNet 300-100, one mask per
task, masks deleted: the curve over the number of tasks, bytes, hours, and what a task cost: the
mean seconds of tasks 120 to 189, 910 to 989 and 2,410 to 2,489. No point of the curve lies within;
every tenth task is scored as it is learned. GNu is trained by `--jobs` worker processes, NNs by the
run itself. Hours are those of the run's own clocks, without what was done again after a kill.
`--minutes` ends a run in time; the same command continues it, also one that was killed. A row that
stands in FILE is not made again.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from common import FIGURES, continued, read_json, write_json

from supsup_bridge import RunSettings, Task, Workers
from supsup_bridge.runs.checkpoint import Checkpoints

COSTS = {"120": range(120, 190), "910": range(910, 990), "2410": range(2410, 2490)}
LEAST = 50  # tasks of a cost; in between a run may have been stopped
KEY = (
    *("benchmark", "scenario", "tasks", "hubs", "signature_features"),
    *("batches", "train_in", "seed", "workers"),
)


class Clock:
    """An observer that prints every tenth task, and notes in a file when each one was learned.

    Args:
        path: lines of JSON: number of the task, seconds since the one before, and workers.
        jobs: workers.
    """

    def __init__(self, path: Path, jobs: int) -> None:
        self._path, self._jobs = path, jobs
        self._last: float | None = None  # the first task after a start has workers to wait for

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None: ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        if number % 10 == 0:
            print(f"    task {number} after {after + 1}: {accuracy:.4f}", flush=True)

    def learned(self, task: Task, number: int) -> None:
        now = time.monotonic()
        if self._last is not None:
            line = {"task": number, "seconds": now - self._last, "jobs": self._jobs}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        self._last = now
        if (number + 1) % 10 == 0:
            print(f"  {number + 1} tasks", flush=True)


def pause_until(end: float, checkpoints: Checkpoints) -> Callable[[], None]:
    """Keep the run's state as always; from a time on, end it there."""

    def pause() -> None:
        checkpoints.stop = checkpoints.stop or time.monotonic() > end
        checkpoints()

    return pause


def costs(path: Path) -> dict[str, Any]:
    """Mean seconds of a task in each of `COSTS`, as far as the run came, and with how many workers.

    A task that was learned again after a kill counts as it was learned last.
    """
    lines: dict[int, dict[str, Any]] = {}
    for text in path.read_text().splitlines() if path.exists() else []:
        with suppress(json.JSONDecodeError):  # a line that a kill cut
            line = json.loads(text)
            lines[line["task"]] = line
    found: dict[str, Any] = {"jobs": sorted({line["jobs"] for line in lines.values()})}
    for name, tasks in COSTS.items():
        seconds = [lines[task]["seconds"] for task in tasks if task in lines]
        if len(seconds) >= LEAST:
            found[name] = mean(seconds)
    return found


def settings_of(options: argparse.Namespace) -> RunSettings:
    free = options.scenario == "NNs"
    return RunSettings(
        benchmark=options.benchmark,
        scenario=options.scenario,
        tasks=options.tasks,
        hubs=options.hubs,
        recall="entropy",
        signature_features=None if free else 0,
        objective="G",
        infer_samples=1,
        batches=options.batches,
        train_in=options.train_in,
        seed=options.seed,
        workers=not free,
        tasks_at_once=1 if free else None,
        device="cpu",
    )


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        "| scenario | tasks | hubs | address | seed | steps | trained in "
        "| accuracy | task given | exact | masks | memory, GB | hours | workers "
        "| s per task from 120 on | from 910 on | from 2,410 on |",
        f"|{'---|' * 17}",
    ]
    for row in rows:
        run, cost = row["run"], row["cost"]
        cells = [
            *(run["scenario"], str(run["tasks"]), str(run["hubs"])),
            "none" if run["signature_features"] == 0 else "kept",
            *(str(run["seed"]), str(run["batches"] or "preset's"), run["train_in"] or "float32"),
            *(f"{row['accuracy']:.4f}", f"{row['accuracy_given_task']:.4f}"),
            *(f"{row['exact_recall_rate']:.4f}", str(row["masks_allocated"])),
            f"{row['bytes']['memory'] / 1e9:.2f}",
            f"{row['seconds']['total'] / 3600:.1f}",
            ", ".join(map(str, cost["jobs"])),
            *(f"{cost[name]:.2f}" if name in cost else "" for name in COSTS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def curves(rows: list[dict[str, Any]]) -> str:
    """A line for each point of each row's curve, from ten tasks on."""
    lines = [
        "| scenario | hubs | seed | after tasks | scored | accuracy | task given | task right |",
        f"|{'---|' * 8}",
    ]
    for row in rows:
        run = row["run"]
        for point in row["curve"]:
            if point["tasks"] >= 10:
                cells = [
                    *(run["scenario"], str(run["hubs"]), str(run["seed"])),
                    *(str(point["tasks"]), str(point["scored"])),
                    *(f"{point['accuracy']:.4f}", f"{point['accuracy_given_task']:.4f}"),
                    f"{point['task_inference_accuracy']:.4f}",
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
    add("--train-in", choices=("float32", "bfloat16"))
    add("--jobs", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--minutes", type=float, default=float("inf"))
    add("--runs", type=Path, default=Path("runs/many_tasks"))
    add("--out", type=Path, default=Path("benchmarks/many_tasks.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        rows = read_json(options.out)
        print(table(rows), "", curves(rows), sep="\n")
        return
    settings = settings_of(options)
    run = {name: getattr(settings, name) for name in KEY}
    if any(row["run"] == run for row in read_json(options.out)):
        print(f"{run} stands in {options.out}")
        return
    end = time.monotonic() + 60 * options.minutes
    folder = options.runs / "-".join(str(value) for value in run.values())
    with continued(settings, folder, data=options.data) as (experiment, checkpoints):
        workers = Workers(jobs=options.jobs, engine="loky") if settings.workers else None
        clock = Clock(folder / "learned.jsonl", options.jobs if workers else 0)
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
