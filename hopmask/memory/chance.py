"""Chance: what masks of the kind that a memory holds look like, as far as their mean shows."""

from math import nan, sqrt

import torch
from torch import Tensor


def population_means(mean: Tensor, count: int) -> tuple[Tensor, float]:
    """Mean of each spin over all masks of the kind of k stored ones, and the overlap q of two.

    The mean μ of k masks scatters around that of their kind. With M = (1/d) Σ μ and m = (1/d) Σ μ²,
    q = (k m − 1)/(k − 1) is the mean overlap of two different masks, s = (q − M²)/(m − M²) the
    share of μ's scatter that is no accident of k draws, and the means are M + (μ − M) √s.

    Args:
        mean: μ, (d,).
        count: k, at least 1. For one mask the means are all M, and q is NaN.

    Returns:
        Means in [-1, 1], (d,), and q.

    Example:
        >>> means, overlap = population_means(torch.tensor([1.0, -1.0, 0.0, 0.0]), 2)
        >>> means, overlap
        (tensor([0., 0., 0., 0.]), 0.0)

    Source:
        hopmask's own: shrinkage toward the grand mean, as in James, Stein 1961.
    """
    square, middle = float(mean.double().square().mean()), float(mean.double().mean())
    if count < 2:
        return torch.full_like(mean, middle), nan
    overlap = (count * square - 1) / (count - 1)
    share = max(overlap - middle**2, 0.0) / max(square - middle**2, 1e-30)
    return (middle + (mean - middle) * sqrt(share)).clamp(-1, 1), overlap


def beyond_chance(cue: Tensor, state: Tensor, means: Tensor) -> Tensor:
    """Agreement of states with cues, in standard deviations of that with a random mask.

    Σ b_i (z_i − p_i) / √(Σ b_i² (1 − p_i²)), where the spins of a random mask of the same kind are
    independent with means p_i.

    Args:
        cue: b, 0 where nothing is known, (rows, d).
        state: z, ±1, (rows, d).
        means: p, (d,).

    Returns:
        (rows,).

    Example:
        >>> beyond_chance(torch.ones(1, 100), torch.ones(1, 100), torch.zeros(100))
        tensor([10.])

    Source:
        The normal approximation of a sum of independent spins.
    """
    spread = (cue.square() * (1 - means.square())).sum(-1).sqrt()
    return (cue * (state - means)).sum(-1) / spread.clamp_min(1e-12)
