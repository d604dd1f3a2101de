"""What the benchmark scripts share: an observer, a row of figures, and JSON files."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from supsup_bridge import Experiment, RunSettings, Task
from supsup_bridge.cli.working import stopping
from supsup_bridge.rng import shuffled, stream
from supsup_bridge.runs import checkpoint, intervals

FIGURES = (
    "accuracy",
    "accuracy_per_task",
    "accuracy_given_task",
    "task_inference_accuracy",
    "exact_recall_rate",
    "masks_allocated",
    "bytes",
    "recall",
    "seconds",
    "config",
    "versions",
)
HELD_OUT = 1000  # training images of a task, at most, that settings are chosen on


class Quiet:
    """An observer that prints every tenth task, or nothing.

    Args:
        say: whether to print.
    """

    def __init__(self, *, say: bool = True) -> None:
        self.say = say

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None: ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None: ...

    def learned(self, task: Task, number: int) -> None:
        if self.say and (number + 1) % 10 == 0:
            print(f"  {number + 1} tasks", flush=True)


@contextmanager
def continued(
    settings: RunSettings,
    folder: Path,
    *,
    data: Path | None,
    check: Callable[[Experiment], None] = lambda experiment: None,
) -> Iterator[tuple[Experiment, checkpoint.Checkpoints]]:
    """The run of these settings, from where it stopped in a folder of its own; and what keeps it.

    A first Ctrl-C or SIGTERM writes a checkpoint and stops it, a second one stops it at once.

    Args:
        settings: of the run.
        folder: its own.
        data: of the data set.
        check: called with a run that begins.

    Raises:
        RuntimeError: the folder holds a run of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with checkpoint.locked(folder):
        if checkpoint.exists(folder):
            saved = checkpoint.read(folder)
            if saved.settings != settings:
                raise RuntimeError(f"{folder} holds a run of {saved.settings}: choose other --runs")
            experiment = checkpoint.resumed(folder, saved, data=data)
            checkpoints = checkpoint.Checkpoints(folder, experiment, slot=saved.slot, data=data)
            print(f"  continued after {len(experiment.names())} tasks", flush=True)
        else:
            experiment = Experiment(settings, data=data)
            check(experiment)
            checkpoints = checkpoint.Checkpoints(folder, experiment, data=data)
            checkpoints.begin()
        with stopping(checkpoints):
            yield experiment, checkpoints


def held_out(tasks: Sequence[Task], seed: int) -> list[Task]:
    """Tasks tested on some of their training images, at most a third, and taught by the others."""
    made = []
    for number, task in enumerate(tasks):
        order = shuffled(len(task.train_labels), stream(seed, "held out", number))
        count = min(HELD_OUT, len(order) // 3)
        kept, inference, scored = order[count:], order[: count // 2], order[count // 2 : count]
        made.append(
            Task(
                name=task.name,
                train_images=task.train_images[kept],
                train_labels=task.train_labels[kept],
                inference_images=task.train_images[inference],
                scored_images=task.train_images[scored],
                scored_labels=task.train_labels[scored],
            )
        )
    return made


def figures(
    experiment: Experiment, options: Mapping[str, Any], keys: Iterable[str]
) -> dict[str, Any]:
    """The options of a row beside figures of the result, for runs that truly had these options.

    Raises:
        RuntimeError: the run had other options.
    """
    result = experiment.result()
    ran = {**result["config"], "infer_samples": result["infer_samples"]}
    others = {name: ran[name] for name, value in options.items() if ran[name] != value}
    if others:
        raise RuntimeError(f"a row of {dict(options)} would hold the figures of {others}")
    return {"options": dict(options), **{key: result[key] for key in keys}}


def read_json(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none where there is no file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def write_json(path: Path, content: object) -> None:
    """Write rows or figures."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def spread(values: list[float]) -> str:
    """Mean over the seeds, and half of its 95 % interval (Student's t)."""
    interval = intervals.over_tasks(values)
    half = "" if interval is None else f" ± {mean(values) - interval[0]:.4f}"
    return f"{mean(values):.4f}{half}"
