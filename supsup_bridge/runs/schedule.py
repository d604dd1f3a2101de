"""Which tasks a run scores, and when, so that scoring takes a constant share of the run."""

from collections.abc import Sequence

import torch

from supsup_bridge.rng import stream
from supsup_bridge.runs.settings import RunSettings

MOST = 100  # tasks up to which a point of the curve scores all, and that a later one scores
_APART = 10  # beyond: tasks of which one is scored when it was learned


def is_point(learned: int, settings: RunSettings) -> bool:
    """Whether the curve has a point once so many tasks were learned.

    After each of the first ten, then at 20, 50, 100, 200, 500 ..., or at multiples of the settings'
    `evaluate_every`; and after the last.

    Example:
        >>> [learned for learned in range(1, 501) if is_point(learned, RunSettings(tasks=600))][9:]
        [10, 20, 50, 100, 200, 500]
    """
    if learned == settings.tasks:
        return True
    if settings.evaluate_every is not None:
        return learned % settings.evaluate_every == 0
    digits = str(learned)
    return learned <= 10 or (digits[0] in "125" and not digits[1:].strip("0"))


def tasks_of_point(learned: int, *, seed: int) -> Sequence[int]:
    """The tasks that a point of the curve but the last scores, after so many were learned.

    All of them, or from 101 on a sample of 100: the newest, and 99 others drawn by the seed.

    Example:
        >>> tasks_of_point(3, seed=0)
        range(0, 3)
        >>> drawn = tasks_of_point(2500, seed=0)
        >>> len(set(drawn)), max(drawn)
        (100, 2499)
    """
    if learned <= MOST:
        return range(learned)
    others = torch.randperm(learned - 1, generator=stream(seed, "scored", learned), device="cpu")
    return [*sorted(others[: MOST - 1].tolist()), learned - 1]


def is_newest_due(learned: int) -> bool:
    """Whether the newest of so many tasks is scored by itself, where the curve has no point.

    The first 100 are, and of the others every tenth.

    Example:
        >>> [learned for learned in (1, 99, 100, 101, 110, 2400, 2401) if is_newest_due(learned)]
        [1, 99, 100, 110, 2400]
    """
    return learned <= MOST or learned % _APART == 0
