"""From real scores to binary masks, with a straight-through gradient, and where scores start."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.networks.fixed import FixedNetwork, Masks, Size, shape_of

_LARGEST = 0.5  # share of a layer's weights that the Erdős–Rényi budget gives at most


@dataclass(frozen=True)
class Threshold:
    """m = [score ≥ 0].

    Example:
        >>> Threshold()({"h": torch.tensor([-1.0, 0.5])})
        {'h': tensor([0., 1.])}

    Source:
        Mallya et al. 2018 (Piggyback, arXiv 1801.06519); the gradient passes straight through
        (Bengio et al. 2013, arXiv 1308.3432).
    """

    def __call__(self, scores: Mapping[str, Tensor], *, stacked: bool = False) -> Masks:
        """Masks in {0, 1} of the scores' type, differentiable.

        Args:
            scores: name -> (*size), or (T, *size) of T tasks.
            stacked: whether they are of several tasks, each of which is masked by itself.
        """
        return {name: _Step.apply(score) for name, score in scores.items()}  # type: ignore[no-untyped-call]

    def centred(self, mean: Tensor) -> Tensor:
        """Scores in [-½, ½] that stand for the mean of masks."""
        return mean - 0.5

    def blank(self, name: str) -> float:
        """Level of a mask that says nothing."""
        return 0.5


@dataclass(frozen=True)
class TopK:
    """m = 1 for the share of each layer's scores that are largest in size, 0 elsewhere.

    The number that is kept is exact, whatever scores are equal.

    Args:
        shares: name of each mask -> share of its entries that is kept.

    Example:
        >>> TopK({"h": 0.5})({"h": torch.tensor([-3.0, 0.5])})
        {'h': tensor([1., 0.])}

    Source:
        Edge-Popup: Ramanujan et al. 2020 (arXiv 1911.13299).
    """

    shares: Mapping[str, float]

    def __call__(self, scores: Mapping[str, Tensor], *, stacked: bool = False) -> Masks:
        """Masks in {0, 1} of the scores' type, differentiable; as those of `Threshold`."""
        return {
            name: _Largest.apply(  # type: ignore[no-untyped-call]
                score.abs(), self.shares[name], len(score) if stacked else 1
            )
            for name, score in scores.items()
        }

    def centred(self, mean: Tensor) -> Tensor:
        """Scores in [0, 1] that stand for the mean of masks."""
        return mean

    def blank(self, name: str) -> float:
        """Level of a mask that says nothing."""
        return self.shares[name]


Binariser = Threshold | TopK


def binariser(network: FixedNetwork, sparsity: float | None) -> Binariser:
    """Threshold masks, or with a sparsity top-k masks under the Erdős–Rényi budget.

    Args:
        network: whose masks.
        sparsity: share of all mask entries that is kept (the word is the paper's), or None.

    Raises:
        ConfigError: a sparsity outside what the layers can have.
    """
    return Threshold() if sparsity is None else TopK(erdos_renyi(network.mask_sizes, sparsity))


def erdos_renyi(sizes: Mapping[str, Size], sparsity: float) -> dict[str, float]:
    """Share of each layer's weights to keep: min(½, s (n_in + n_out) / number of weights).

    The sides of a convolution are its channels. The common factor s is such that `sparsity` of all
    weights is kept: layers that would exceed ½ get ½, and the rest is shared out among the others.
    From ½ on every layer is at its cap, and half of each is kept. Masks that are no matrices keep
    `sparsity`, at most ½.

    Args:
        sizes: name -> shape (n_out, n_in, ...) of a weight, or number of bits.
        sparsity: share of all weights that is to be kept, in (0, 1].

    Raises:
        ConfigError: a sparsity outside (0, 1], or that keeps no weight of some layer.

    Example:
        >>> shares = erdos_renyi({"conv": (20, 10, 3, 3), "fc": (10, 40)}, 1 / 8)
        >>> [round(share, 4) for share in shares.values()]
        [0.0573, 0.4297]

    Source:
        Mocanu et al. 2018 (arXiv 1707.04780); Wortsman et al. 2020 (arXiv 2006.14769), section 4,
        whose reference code is given s, from 1 to 32, and not the share that it comes to.
    """
    if not 0 < sparsity <= 1:
        raise ConfigError(f"sparsity must lie in (0, 1], got {sparsity}")
    shapes = {name: shape_of(size) for name, size in sizes.items()}
    counts = {name: prod(shape) for name, shape in shapes.items()}
    most = min(sparsity, _LARGEST)
    shares = {name: most for name, shape in shapes.items() if len(shape) < 2}
    wanted = {
        name: (shape[0] + shape[1]) / counts[name]
        for name, shape in shapes.items()
        if len(shape) >= 2
    }
    left = most * sum(counts[name] for name in wanted)
    while wanted:
        factor = left / sum(share * counts[name] for name, share in wanted.items())
        full = [name for name, share in wanted.items() if factor * share > _LARGEST]
        if not full:
            shares |= {name: factor * share for name, share in wanted.items()}
            break
        for name in full:
            shares[name] = _LARGEST
            left -= _LARGEST * counts[name]
            del wanted[name]
    for name, share in shares.items():
        if round(share * counts[name]) < 1:
            raise ConfigError(
                f"sparsity {sparsity} keeps no weight of '{name}': choose a larger one"
            )
    return {name: shares[name] for name in sizes}


def starting_scores(
    network: FixedNetwork,
    generator: torch.Generator,
    *,
    binarise: Binariser,
    mean: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Scores to train a mask from: at random, or around the mean of the masks learned so far.

    Random scores are uniform within ± the network's bound (Kaiming-uniform with a = √5 for weight
    masks). Around a mean, they are `binarise.centred(mean)` times the bound, and half as wide
    random scores decide where the mean does not. Around a single mask they give that mask, and lie
    as near to where a bit changes as random scores do, so that it can be unlearned as fast.

    Args:
        network: whose masks.
        generator: of the random part.
        binarise: how scores become masks.
        mean: name -> levels in [0, 1], or None for random scores.

    Source:
        Random start and "Transfer": Wortsman et al. 2020 (arXiv 2006.14769), section 4.
    """
    scores = {}
    for name, size in network.mask_sizes.items():
        bound = network.score_bounds[name]
        drawn = torch.rand(
            shape_of(size), generator=generator, dtype=torch.float32, device=generator.device
        )
        noise = (drawn * 2 - 1) * bound
        if mean is not None:
            noise = noise / 2 + binarise.centred(mean[name].float().to(noise.device)) * bound
        scores[name] = noise
    return scores


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return torch.ge(scores, 0, out=torch.empty_like(scores))  # without a bool between

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sizes: Tensor, share: float, tasks: int) -> Tensor:
        rows = sizes.reshape(tasks, -1)
        kept = rows.topk(max(1, round(share * rows.shape[1])), dim=1, sorted=False).indices
        return torch.zeros_like(rows).scatter_(1, kept, 1).reshape(sizes.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None
