"""What a run calls to show its progress, or to log it."""

from typing import Protocol

from supsup_bridge.data.task import Task


class Observer(Protocol):
    """Called with what a run does; for progress and logs."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        """Called after step `step` of `steps` of training task `number`."""
        ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        """Called after task `number` was scored, with task `after` the last one learned."""
        ...

    def learned(self, task: Task, number: int) -> None:
        """Called after task `number` was learned, stored and scored; the results can be read."""
        ...


class Observers:
    """Several observers as one: each is called in turn.

    Args:
        observers: who is called.

    Example:
        >>> from supsup_bridge import Experiment, RunSettings
        >>> Experiment(RunSettings(quick=True, tasks=1)).run(Observers())  # nobody observes it
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        """As `Observer.training`, of each."""
        for observer in self._observers:
            observer.training(task, number, step, steps, loss)

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        """As `Observer.evaluated`, of each."""
        for observer in self._observers:
            observer.evaluated(task, number, after, accuracy)

    def learned(self, task: Task, number: int) -> None:
        """As `Observer.learned`, of each."""
        for observer in self._observers:
            observer.learned(task, number)
