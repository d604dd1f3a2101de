"""Task inference by a gradient: One-Shot, Binary, descent on α."""

from math import ceil, log2

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.base import BankInference, differ
from supsup_bridge.inference.objectives import Objective, entropy
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.stores.bank import MaskBank

_NOTHING = 1e-6  # a share of a mask in a superposition that rounding leaves of 0


class OneShot(BankInference):
    """argmax_i (−∂H/∂α_i) at α = 1/k: one pass at the running mean of the masks.

    Args:
        network: the fixed network.
        bank: the masks.
        objective: of logits (..., outputs): `entropy`, or `superfluous` with its `labels` bound.
        chunk: sets that pass through the network at once.

    Example:
        >>> from supsup_bridge import MaskBank, OneShot, UnitNetwork
        >>> network = UnitNetwork([4, 8, 3], network=torch.Generator().manual_seed(0))
        >>> bank = MaskBank(network.mask_sizes)
        >>> for mask in torch.eye(8)[:4] > 0:
        ...     task = bank.store({"hidden1": mask})
        >>> OneShot(network=network, bank=bank).infer(torch.ones(2, 1, 4)).task.shape
        torch.Size([2])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 4.
    """

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        support = self.support(images, self.middle)
        return support.argmax(-1), differ(support), 1


class Binary(BankInference):
    """⌈log₂ k⌉ steps; each keeps the half of the masks with the largest −∂H/∂α_i.

    Args:
        network, bank, objective, chunk: see `OneShot`.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), algorithm 1 (binary search).
    """

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        count = self.bank.count
        levels = self.middle
        kept = torch.ones(len(images), count, dtype=torch.bool, device=images.device)
        sure = torch.ones(len(images), dtype=torch.bool, device=images.device)
        left, steps = count, 0
        while left > 1:
            support = self.support(images, levels)
            sure &= differ(support)
            support = support.masked_fill(~kept, -torch.inf)
            left, steps = ceil(left / 2), steps + 1
            best = support.sort(dim=-1, descending=True, stable=True).indices[:, :left]
            kept = torch.zeros_like(kept).scatter_(1, best, True)
            if left > 1:
                levels = self.bank.superpose(kept.to(torch.float32) / left)
        assert steps == (ceil(log2(count)) if count > 1 else 0)
        return kept.int().argmax(-1), sure, steps


class Descent(BankInference):
    """Gradient descent on α over the simplex, from 1/k; the largest α at the end.

    α ← α − η (∇H − mean ∇H) / max |∇H − mean ∇H| / (number of α > 0), then negative values are cut
    off and the rest is scaled to Σ α = 1. The step is relative, so that one η serves any objective
    and number of tasks; masks that were cut off stay off.

    Args:
        network, bank, objective, chunk: see `OneShot`.
        steps: how many.
        rate: η, in (0, 1].

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 3.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        bank: MaskBank,
        objective: Objective = entropy,
        chunk: int = 16,
        steps: int = 20,
        rate: float = 0.5,
    ) -> None:
        if steps < 1 or not 0 < rate <= 1:
            raise ConfigError(f"descent needs steps >= 1 and a rate in (0, 1], got {steps}, {rate}")
        super().__init__(network=network, bank=bank, objective=objective, chunk=chunk)
        self.steps, self.rate = steps, rate

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        weights = images.new_full((len(images), self.bank.count), 1 / self.bank.count)
        levels = self.middle
        for step in range(self.steps):
            if step:
                levels = self.bank.superpose(weights)
            active = weights > 0
            number = active.sum(-1, keepdim=True)
            support = self.support(images, levels)
            support = torch.where(active, support, 0)
            support = torch.where(active, support - support.sum(-1, keepdim=True) / number, 0)
            largest = support.abs().amax(-1, keepdim=True).clamp_min(1e-30)
            weights = weights + self.rate * support / largest / number
            weights = torch.where(weights > _NOTHING, weights, 0)
            weights = weights / weights.sum(-1, keepdim=True)
            if bool(((weights > 0).sum(-1) == 1).all()):
                break
        return weights.argmax(-1), differ(weights), step + 1
