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
        jobs: workers that train that many tasks at a time; 0 where the run itself trains.
        first: number of the first task.
    """

    def __init__(
        self,
        console: Console,
        *,
        tasks: int,
        learned: int,
        keep: Callable[[], None] = lambda: None,
        jobs: int = 0,
        first: int = 0,
    ) -> None:
        self._keep, self._jobs, self._end = keep, jobs, first + tasks
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._all = self._progress.add_task("tasks", total=tasks, completed=learned)
        self._steps = self._progress.add_task("training", total=None)
        self._losses: dict[int, float] = {}  # of the tasks that are trained at once, by number
        self._say_in_training(first + learned)

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        losses = self._losses
        losses[number] = loss
        said = f"{task.name}: loss {loss:.3f}"
        if len(losses) > 1:
            mean = sum(losses.values()) / len(losses)
            said = f"tasks {min(losses)} to {max(losses)}: mean loss {mean:.3f}"
        self._progress.update(self._steps, total=steps, completed=step, description=said)

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        self._progress.update(
            self._steps, description=f"after task {after}: {task.name} {accuracy:.4f}"
        )

    def learned(self, task: Task, number: int) -> None:
        self._losses.clear()
        self._keep()
        self._progress.update(self._all, advance=1)
        self._say_in_training(number + 1)

    def _say_in_training(self, next: int) -> None:
        """Name the tasks that workers train, from the next one that the run waits for."""
        if self._jobs and next < self._end:
            numbers = ", ".join(map(str, range(next, min(next + self._jobs, self._end))))
            self._progress.update(self._steps, description=f"workers train: {numbers}")
