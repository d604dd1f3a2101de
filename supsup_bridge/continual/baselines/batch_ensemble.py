"""BatchE: a matrix of low rank for each task, times the weights of one trunk."""

from collections.abc import Iterable, Mapping
from math import sqrt

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.baselines.separate import TrunkBaseline
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.training.settings import TrainingSettings, is_count

_SPREAD = 0.1  # standard deviation of the factors at the start


class BatchEnsemble(TrunkBaseline):
    """W_t = W ⊙ Σ_k s_tk r_tkᵀ in every layer but the head, which each task has for itself.

    s has a value for each output of a layer, r one for each input; of convolutions these are
    channels. They start around s rᵀ = 1.

    Args:
        network, training, seed, trained: see `TrunkBaseline`.
        rank: k = 1 ... rank. The paper has 1; more take more bytes for a task.

    Raises:
        ConfigError: a rank that is no positive whole number.

    Source:
        Wen et al. 2020 (arXiv 2002.06715), eq. 1; with several ranks, ours, to compare at equal
        bytes.
    """

    def __init__(
        self,
        network: MaskedNetwork,
        *,
        training: TrainingSettings,
        seed: int,
        trained: bool,
        rank: int = 1,
    ) -> None:
        super().__init__(network, training=training, seed=seed, trained=trained)
        if not is_count(rank):
            raise ConfigError(f"rank must be a positive whole number, got {rank!r}")
        self.rank = rank
        self._factors: list[Masks] = []  # name.out, name.in -> (rank, channels), of each task

    def train(self, fit: Fit) -> None:
        if self.frozen is None:
            self.train_trunk(fit)
            self._factors.append({})
            return
        trunk, head = self.frozen, self.head
        start = {**self._start(trunk), head: self.drawn()[head]}
        found = fit(start, lambda leaves: {**_products(trunk, leaves), head: leaves[head]})
        self.heads.append(found.pop(head))
        self._factors.append(found)

    def weights(self, task: int) -> Masks:
        assert self.frozen is not None
        factors = self._factors[task]
        trunk = _products(self.frozen, factors) if factors else self.frozen
        return {**trunk, self.head: self.heads[task]}

    def kept(self) -> Iterable[Tensor]:
        yield from super().kept()
        for factors in self._factors:
            yield from factors.values()

    def _start(self, trunk: Masks) -> Masks:
        generator = stream(self.seed, "factors", self.count)
        found = {}
        for name, weight in trunk.items():
            for side, channels in zip(("out", "in"), weight.shape, strict=False):
                drawn = torch.randn((self.rank, channels), generator=generator, dtype=torch.float32)
                found[f"{name}.{side}"] = (1 + _SPREAD * drawn) / sqrt(self.rank)
        return found


def _products(trunk: Masks, factors: Mapping[str, Tensor]) -> Masks:
    """W ⊙ Σ_k s_k r_kᵀ of each layer."""
    found = {}
    for name, weight in trunk.items():
        outer = torch.einsum("ko,ki->oi", factors[f"{name}.out"], factors[f"{name}.in"])
        found[name] = weight * outer.reshape(*outer.shape, *(1,) * (weight.ndim - 2))
    return found
