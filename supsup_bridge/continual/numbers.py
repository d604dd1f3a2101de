"""The numbers of a learner's tasks: which were given out, and which were forgotten."""

from collections.abc import Iterable

from hopmask import EmptyMemoryError, UnknownTaskError


class Numbers:
    """Counts upwards; a forgotten number is not used again.

    Args:
        next: the number after the last one given out.
        forgotten: those that were forgotten.

    Example:
        >>> numbers = Numbers(3, forgotten=[1])
        >>> numbers.live
        (0, 2)
    """

    def __init__(self, next: int = 0, *, forgotten: Iterable[int] = ()) -> None:
        self.next, self.forgotten = next, set(forgotten)

    @property
    def live(self) -> tuple[int, ...]:
        """The numbers of all tasks, in order."""
        return tuple(n for n in range(self.next) if n not in self.forgotten)

    def add(self, number: int) -> None:
        """A task was given a number."""
        self.next = max(self.next, number + 1)

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
