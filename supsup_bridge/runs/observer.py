"""Who is told what a run is doing."""

from typing import Protocol

from supsup_bridge.data.task import Task


class Observer(Protocol):
    """Told what a run is doing; for progress."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        """Step `step` of `steps` of training task `number` is done."""
        ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        """Task `number` was scored after learning task `after`."""
        ...

    def learned(self, task: Task, number: int) -> None:
        """Task `number` was learned, stored and scored; results so far can be read."""
        ...
