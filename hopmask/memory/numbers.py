"""Task numbers: as callers give them, one or many, checked; and those that are still free."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hopmask._checks import index_or_none, is_tensor, kind_of
from hopmask.errors import ConfigError, DuplicateError, MemoryFullError, UnknownTaskError


def task_number(task: object, numbered: int) -> int:
    """A task's number, checked.

    Args:
        task: an integer, also numpy's or torch's.
        numbered: how many numbers were given out.

    Raises:
        UnknownTaskError: no task of that number.

    Example:
        >>> task_number(torch.tensor(2), 3)
        2
    """
    number = index_or_none(task)
    if number is None or not 0 <= number < numbered:
        raise UnknownTaskError(
            f"unknown task {task!r:.80}: the memory holds tasks 0 to {numbered - 1}"
        )
    return number


def given_numbers(tasks: object) -> tuple[list[object], bool]:
    """What stands for task numbers as a list, and whether a single one was given.

    Args:
        tasks: an integer, a sequence of them, or an integer tensor (k,).

    Raises:
        UnknownTaskError: no number at all.

    Example:
        >>> given_numbers(torch.tensor([2, 0]))
        ([2, 0], False)
    """
    if isinstance(tasks, Tensor) and not is_tensor(tasks):
        raise UnknownTaskError(f"task numbers must be integers, got {kind_of(tasks)}")
    if isinstance(tasks, Tensor) and tasks.ndim == 1:
        tasks = tasks.tolist()
    if not isinstance(tasks, Sequence) or isinstance(tasks, str):
        return [tasks], True
    if len(tasks) == 0:
        raise UnknownTaskError("no task is named: give at least one number")
    return [*tasks], False


def task_numbers(tasks: object, numbered: int) -> tuple[Tensor, bool]:
    """Task numbers (k,), and whether a single one was given instead of a sequence.

    Args:
        tasks: an integer, a sequence of them, or an integer tensor (k,).
        numbered: how many numbers were given out.

    Raises:
        UnknownTaskError: no task of such a number, or no number at all.

    Example:
        >>> task_numbers([2, 0], 3)
        (tensor([2, 0]), False)
    """
    given, one = given_numbers(tasks)
    return torch.tensor([task_number(task, numbered) for task in given], device="cpu"), one


def live_number(task: object, live: Tensor) -> int:
    """The number of a task that is held, checked.

    Args:
        task: an integer, also numpy's or torch's.
        live: which numbers are held, bool (K,).

    Raises:
        UnknownTaskError: no task of that number.

    Example:
        >>> live_number(torch.tensor(2), torch.tensor([True, False, True, False]))
        2
    """
    number = index_or_none(task)
    if number is None or not 0 <= number < len(live) or not live[number]:
        held = live.nonzero()[:, 0].tolist()
        raise UnknownTaskError(f"unknown task {task!r:.80}: the memory holds {listed(held)}")
    return number


def next_number(live: Tensor, numbered: int) -> int:
    """The number after the largest so far, or the lowest free one.

    Args:
        live: which numbers are held, bool (K,).
        numbered: the largest number given out so far, plus 1.

    Raises:
        MemoryFullError: all are held.

    Example:
        >>> live = torch.tensor([True, False, True, True])
        >>> next_number(live[:3], 2), next_number(live, 4)
        (2, 1)
    """
    if numbered < len(live):
        return numbered
    free = (~live).nonzero()
    if len(free) == 0:
        raise MemoryFullError(
            f"the memory holds {len(live)} tasks, as many as it has hubs: nothing was stored. "
            "Call grow() for twice as many"
        )
    return int(free[0])


def free_number(task: object, live: Tensor) -> int:
    """A number of the caller's choice, free and in range.

    Args:
        task: an integer, also numpy's or torch's.
        live: which numbers are held, bool (K,).

    Raises:
        ConfigError: it is no number from 0 on.
        MemoryFullError: there are fewer hubs.
        DuplicateError: it is taken.

    Example:
        >>> free_number(1, torch.tensor([True, False]))
        1
    """
    number, hubs = index_or_none(task), len(live)
    if number is None or number < 0:
        raise ConfigError(f"a task's number must be a whole number from 0 on, got {task!r:.40}")
    if number >= hubs:
        raise MemoryFullError(
            f"task {number} does not fit: {hubs} hubs take tasks 0 to {hubs - 1}. Nothing was "
            "stored; call grow() for twice as many"
        )
    if bool(live[number]):
        raise DuplicateError(
            f"task {number} is stored already: replace() it, forget() it first, or leave out task="
        )
    return number


def listed(tasks: Sequence[int]) -> str:
    """Task numbers in a few words.

    Example:
        >>> listed([3, 5])
        'tasks 3, 5'
    """
    few = ", ".join(map(str, tasks[:8]))
    return f"task{'s' if len(tasks) != 1 else ''} {few}{' ...' if len(tasks) > 8 else ''}"
