"""The numbers of a learner's tasks: which it has, and which the next one gets."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from operator import index

import torch

from hopmask import ConfigError, EmptyMemoryError, MaskMemory, UnknownTaskError
from hopmask.errors import DuplicateError, MemoryFullError
from supsup_bridge.continual.settings import MOST_HUBS


def whole(number: object) -> int | None:
    """A whole number as an int, also numpy's and torch's; None of anything else, also of a bool.

    Example:
        >>> whole(torch.tensor(3)), whole(True), whole(3.0)
        (3, None, None)
    """
    if isinstance(number, bool) or getattr(number, "dtype", None) is torch.bool:
        return None
    try:
        return index(number)  # type: ignore[arg-type]
    except TypeError:
        return None


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

    @abstractmethod
    def free(self, task: int | None) -> int:
        """The number given, if a task of that number fits; of None, that of the next task.

        Raises:
            ConfigError: a number that is none, or a memory that numbers tasks itself.
            DuplicateError: the number is taken.
            MemoryFullError: there is no room, and it does not grow.
        """

    def require(self, task: object) -> int:
        """A task's number.

        Raises:
            EmptyMemoryError: there are no tasks.
            UnknownTaskError: no task of that number.
        """
        if not self.live:
            raise EmptyMemoryError("no task was learned: call learn(data) first")
        number = whole(task)
        if number is None or number not in self.live:
            raise UnknownTaskError(f"unknown task {task!r}: the learner's tasks are {self.live}")
        return number


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

    def free(self, task: int | None) -> int:
        if task is not None:
            raise ConfigError(
                f"task= is for weight masks in a Hopfield memory, got {task!r:.40}: leave it out, "
                "the memory numbers its tasks"
            )
        return self._next

    def add(self, number: int) -> None:
        """A task was given a number."""
        self._next = max(self._next, number + 1)


class Held(Numbers):
    """Those of a hub memory: upwards, then the lowest that is free; a forgotten number is free.

    Args:
        memory: of hub couplings.
        grows: whether its hubs are doubled where a number does not fit.

    Example:
        >>> import torch
        >>> memory = MaskMemory({"hidden": 64}, couplings="hub", hubs=4)
        >>> memory.store({"hidden": torch.arange(64) % 3 == 0}, task=3)
        3
        >>> numbers = Held(memory, grows=False)
        >>> numbers.live, numbers.next
        ((3,), 0)
    """

    def __init__(self, memory: MaskMemory, *, grows: bool) -> None:
        self._memory, self._hubs, self._grows = memory, int(memory.capacity or 0), grows

    @property
    def live(self) -> tuple[int, ...]:
        return self._memory.tasks

    @property
    def next(self) -> int:
        if self._memory.numbered < self._hubs:
            return self._memory.numbered
        live = set(self.live)
        return next(number for number in range(self._hubs + 1) if number not in live)

    @property
    def last(self) -> int:
        return self._memory.numbered - 1

    def free(self, task: int | None) -> int:
        number, hubs = self.next if task is None else whole(task), self._hubs
        if number is None or not 0 <= number < MOST_HUBS:
            raise ConfigError(
                f"a task's number must be a whole number below {MOST_HUBS}, got {task!r:.40}"
            )
        if number in self.live:
            raise DuplicateError(f"task {number} was learned already: forget({number}) it first")
        if number >= hubs and not self._grows:
            raise MemoryFullError(
                f"task {number} does not fit into {hubs} hubs, which hold tasks 0 to {hubs - 1}: "
                "make the learner without hubs=, so that they grow, or call learner.memory.grow()"
            )
        return number
