"""Piggyback: binary masks over a backbone that one task has trained."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.baselines.separate import TrunkBaseline
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.training.scores import Threshold
from supsup_bridge.training.settings import TrainingSettings

_START, _LEVEL = 1e-2, 5e-3  # where scores start, and the level from which on a weight is kept
_SLOW = _START / 0.1  # rate of scores, to that of weights: so close to the level


class Piggyback(TrunkBaseline):
    """W_t = W ⊙ [s_t ≥ τ], with W trained by the first task, and a head for each task.

    Scores start at 0.01, τ = 0.005: at first every weight is kept.

    Args:
        network, training, seed: see `WeightBaseline`.

    Source:
        Mallya et al. 2018 (arXiv 1801.06519), section 3; there the backbone comes from ImageNet.
    """

    def __init__(self, network: MaskedNetwork, *, training: TrainingSettings, seed: int) -> None:
        super().__init__(network, training=training, seed=seed, trained=True)
        self._masks: list[Masks] = []

    def train(self, fit: Fit) -> None:
        if self.frozen is None:
            self.train_trunk(fit)
            self._masks.append({})
            return
        trunk, head, binarise = self.frozen, self.head, Threshold()
        start = {name: torch.full_like(weight, _START - _LEVEL) for name, weight in trunk.items()}

        def values(leaves: Mapping[str, Tensor]) -> Masks:
            masks = binarise({name: leaves[name] for name in trunk})
            return {**{n: weight * masks[n] for n, weight in trunk.items()}, head: leaves[head]}

        rates = dict.fromkeys(trunk, _SLOW)
        found = fit({**start, head: self.drawn()[head]}, values, rates=rates)
        self.heads.append(found.pop(head))
        self._masks.append({name: score >= 0 for name, score in found.items()})

    def weights(self, task: int) -> Masks:
        assert self.frozen is not None
        masks = self._masks[task]
        trunk = {n: weight * masks[n] if masks else weight for n, weight in self.frozen.items()}
        return {**trunk, self.head: self.heads[task]}

    def kept(self) -> Iterable[Tensor]:
        yield from super().kept()
        for masks in self._masks:
            yield from masks.values()
