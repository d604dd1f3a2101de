"""Task numbers as callers give them: one, or many, checked against those given out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hopmask._checks import index_or_none
from hopmask.errors import UnknownTaskError


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
