"""Which tasks a run scores, and when, so that scoring takes a constant share of the run."""

from collections.abc import Sequence

import torch

from supsup_bridge.rng import stream

MOST = 100  # tasks up to which all are scored, and of an evaluation between later ones
_APART = 10  # beyond: tasks of which one is scored when it was learned


def tasks_of_point(learned: int, *, seed: int) -> Sequence[int]:
    """The tasks that an evaluation scores after so many were learned, but for the last evaluation.

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
    """Whether the newest of so many tasks is scored by itself, where no evaluation is due.

    The first 100 are, and of the others every tenth.

    Example:
        >>> [learned for learned in (1, 99, 100, 101, 110, 2400, 2401) if is_newest_due(learned)]
        [1, 99, 100, 110, 2400]
    """
    return learned <= MOST or learned % _APART == 0
