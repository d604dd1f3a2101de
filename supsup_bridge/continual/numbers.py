"""The numbers of a learner's tasks: which it has, and which the next one gets."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from hopmask import EmptyMemoryError, MaskMemory, UnknownTaskError


class Numbers(ABC):
    """The numbers of a learner's tasks."""

    @property
    @abstractmethod
    def live(self) -> tuple[int, ...]:
        """The numbers of all tasks, in order."""

    @property
    @abstractmethod
    def next(self) -> int:
        """The number of the next task."""

    @property
    @abstractmethod
    def last(self) -> int:
        """The largest number given out so far; -1 before the first."""

    def require(self, task: object) -> int:
        """A task's number.

        Raises:
            EmptyMemoryError: there are no tasks.
            UnknownTaskError: no task of that number.
        """
        if not self.live:
            raise EmptyMemoryError("no task was learned: call learn(data) first")
        whole = isinstance(task, int) and not isinstance(task, bool)
        if not whole or task not in self.live:
            raise UnknownTaskError(f"unknown task {task!r}: the learner's tasks are {self.live}")
        return int(task)


class Counted(Numbers):
    """Counts upwards; a forgotten number is not used again.

    Args:
        next: the number after the last one given out.
        forgotten: those that were forgotten.

    Example:
        >>> Counted(3, forgotten=[1]).live
        (0, 2)
    """

    def __init__(self, next: int = 0, *, forgotten: Iterable[int] = ()) -> None:
        self._next, self.forgotten = next, set(forgotten)

    @property
    def live(self) -> tuple[int, ...]:
        return tuple(n for n in range(self._next) if n not in self.forgotten)

    @property
    def next(self) -> int:
        return self._next

    @property
    def last(self) -> int:
        return self._next - 1

    def add(self, number: int) -> None:
        """A task was given a number."""
        self._next = max(self._next, number + 1)


class Held(Numbers):
    """Those of a hub memory: upwards, then the lowest that is free; a forgotten number is free.

    Args:
        memory: of hub couplings.

    Example:
        >>> import torch
        >>> memory = MaskMemory({"hidden": 64}, couplings="hub", hubs=4)
        >>> memory.store({"hidden": torch.arange(64) % 3 == 0}, task=3)
        3
        >>> Held(memory).live, Held(memory).next
        ((3,), 0)
    """

    def __init__(self, memory: MaskMemory) -> None:
        self._memory, self.capacity = memory, int(memory.capacity or 0)

    @property
    def live(self) -> tuple[int, ...]:
        return self._memory.tasks

    @property
    def next(self) -> int:
        if self._memory.numbered < self.capacity:
            return self._memory.numbered
        live = set(self.live)
        return next(number for number in range(self.capacity + 1) if number not in live)

    @property
    def last(self) -> int:
        return self._memory.numbered - 1
