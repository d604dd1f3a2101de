"""Task inference that tries every mask: lowest entropy, largest logit."""

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.base import BankInference, differ
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.stores.bank import MaskBank

_ROUNDING = 64  # roundings by which two passes under one mask can differ, of values of 1 or more


def _lowest(values: Tensor, steps: int) -> tuple[Tensor, Tensor, int]:
    """The answer of `decide` from one value per mask (b, k): the lowest number of least value.

    Values count as equal within the rounding of a forward pass.
    """
    least = values.amin(-1, keepdim=True)
    largest = values.abs().amax(-1, keepdim=True).clamp_min(1.0)
    rounding = _ROUNDING * torch.finfo(values.dtype).eps * largest
    near = values <= least + rounding
    return near.int().argmax(-1), differ(values, least=rounding[:, 0]), steps


class TryAll(BankInference):
    """argmin_i H(f(x, W ⊙ M_i)): every mask is tried; k forward passes.

    Args:
        network, bank, objective: see `OneShot`.
        chunk: masks that pass through the network at once.

    Source:
        The exhaustive search that Wortsman et al. 2020 (arXiv 2006.14769), section 3.3, avoids.
    """

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        values = [self.objective(logits).mean(-1) for logits in self.logits(images)]
        return _lowest(torch.cat(values).T, self.bank.count)


class ArgmaxLogits(BankInference):
    """argmax_i of the largest real logit under M_i, averaged over a set's images; k passes.

    Args:
        network, bank, chunk: see `TryAll`.
        labels: how many outputs are real; superfluous ones are left out.

    Source:
        The usual class-incremental read-out of separate heads: one softmax over all of them.
    """

    def __init__(
        self, *, network: FixedNetwork, bank: MaskBank, labels: int, chunk: int = 16
    ) -> None:
        if not 1 <= labels <= network.outputs:
            raise ConfigError(
                f"labels must lie in 1 .. {network.outputs} (the network's outputs), got {labels}"
            )
        super().__init__(network=network, bank=bank, chunk=chunk)
        self.labels = labels

    def decide(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        values = [logits[..., : self.labels].amax(-1).mean(-1) for logits in self.logits(images)]
        return _lowest(-torch.cat(values).T, self.bank.count)
