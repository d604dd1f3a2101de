"""Progress bars of a run."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from supsup_bridge.data.task import Task


class Bars:
    """An observer of a run: one bar for the tasks, one for the training steps of the present one.

    Args:
        console: where the bars are drawn.
        tasks: of the whole run.
        learned: of them, so far.
        keep: called after each task that was learned and scored.
    """

    def __init__(
        self, console: Console, *, tasks: int, learned: int, keep: Callable[[], None]
    ) -> None:
        self._keep = keep
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._all = self._progress.add_task("tasks", total=tasks, completed=learned)
        self._steps = self._progress.add_task("training", total=None)

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        self._progress.update(
            self._steps, total=steps, completed=step, description=f"{task.name}: loss {loss:.3f}"
        )

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        self._progress.update(
            self._steps, description=f"after task {after}: {task.name} {accuracy:.4f}"
        )

    def learned(self, task: Task, number: int) -> None:
        self._keep()
        self._progress.update(self._all, completed=number + 1)
