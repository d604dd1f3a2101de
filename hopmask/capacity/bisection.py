"""Bisection: the largest number of patterns that couplings take and still recalls."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from hopmask.couplings.dense import DenseCouplings
from hopmask.errors import DuplicateError, NumericalError, OverloadWarning

_ROUNDING = 1e-9  # of a share


def largest(
    low: DenseCouplings,
    write: Callable[[DenseCouplings, int], None],
    holds: Callable[[DenseCouplings], bool],
    *,
    most: int,
    first: int,
) -> int:
    """How many more patterns `low`, which is left alone, takes while it still holds, up to most.

    The number is doubled from `first` until it fails, then bisected.
    """
    start, good, bad, step = low.count, 0, most + 1, first
    while bad - good > 1:
        more = min(step, most) if bad > most else (good + bad) // 2
        trial = low.clone()
        if filled(trial, start + more, write) and holds(trial):
            low, good, step = trial, more, 2 * more
        else:
            bad = more
    return good


def filled(
    couplings: DenseCouplings, count: int, write: Callable[[DenseCouplings, int], None]
) -> bool:
    """Store patterns up to a count; False if the rule refuses one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        try:
            while couplings.count < count:
                write(couplings, couplings.count)
        except (DuplicateError, NumericalError):
            return False
    return True


def enough(back: int, sample: int, share: float) -> bool:
    """Whether a share of patterns came back; 7 of 25 are 0.28 of them, whatever 0.28 · 25 is."""
    return back >= (share - _ROUNDING) * sample


def spread(count: int, most: int) -> Tensor:
    """At most so many of the numbers below `count`, evenly, first and last among them."""
    return (
        torch.linspace(0, count - 1, min(count, most), dtype=torch.float32, device="cpu")
        .round()
        .long()
    )
