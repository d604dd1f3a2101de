"""What a run calls to show its progress."""

from typing import Protocol

from supsup_bridge.data.task import Task


class Observer(Protocol):
    """Called with what a run does; for progress."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        """Called after step `step` of `steps` of training task `number`."""
        ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        """Called after task `number` was scored, with task `after` the last one learned."""
        ...

    def learned(self, task: Task, number: int) -> None:
        """Called after task `number` was learned, stored and scored; the results can be read."""
        ...
