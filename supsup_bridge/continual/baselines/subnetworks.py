"""Masks over weights that tasks train, each weight by one task alone."""

from collections.abc import Iterable, Mapping
from math import prod, sqrt

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.baselines.weights import WeightBaseline
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.training.scores import TopK
from supsup_bridge.training.settings import TrainingSettings

_SCORE = "score of "


class SubnetworkBaseline(WeightBaseline):
    """W_t = W ⊙ M_t, with masks of the largest scores, and heads of each task without a mask.

    A weight that the mask of an earlier task keeps never changes again, so that nothing is
    forgotten.

    Args:
        network, training, seed: see `WeightBaseline`.
        share: of a layer's weights that a mask keeps.

    Attributes:
        shared: weights of the trunk, name of a layer -> (*size).
        masks: of each task, name of a layer -> bool (*size).
        heads: of each task, the weights of the last layer.

    Raises:
        ConfigError: a share that is not in (0, 1], or an optimiser that decays weights.
    """

    def __init__(
        self, network: MaskedNetwork, *, training: TrainingSettings, seed: int, share: float
    ) -> None:
        if not 0 < share <= 1:
            raise ConfigError(f"share must lie in (0, 1], got {share!r}: of a layer's weights")
        if training.optimiser != "adam":
            raise ConfigError(
                f"weights of earlier masks must stay, and {training.optimiser} decays all weights: "
                "train with optimiser='adam'"
            )
        super().__init__(network, training=training, seed=seed)
        names = [*self.trunk(network.mask_sizes)]  # type: ignore[arg-type]
        self.largest = TopK(dict.fromkeys(names, share))
        self.shared: Masks = {}  # weights of the trunk
        self.masks: list[Masks] = []
        self.heads: list[Tensor] = []

    def weights(self, task: int) -> Masks:
        masks = self.masks[task]
        trunk = {name: weight * masks[name] for name, weight in self.shared.items()}
        return {**trunk, self.head: self.heads[task]}

    @property
    def used(self) -> Masks:
        """Where some task's mask keeps a weight, name -> bool (*size)."""
        union = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in self.shared.items()}
        for masks in self.masks:
            union = {name: union[name] | masks[name] for name in union}
        return union

    def scores(self) -> Masks:
        """New scores of the trunk, Kaiming-uniform with a = √5: within ±1/√fan_in."""
        generator = stream(self.seed, "scores", self.count)
        found = {}
        for name, weight in self.shared.items():
            drawn = torch.rand(weight.shape, generator=generator, dtype=torch.float32)
            found[_SCORE + name] = (drawn * 2 - 1) / sqrt(prod(weight.shape[1:]))
        return found

    def largest_of(self, leaves: Mapping[str, Tensor]) -> Masks:
        """Masks of the scores among some tensors, differentiable."""
        return self.largest({name: leaves[_SCORE + name] for name in self.shared})


class WinningSubnetworks(SubnetworkBaseline):
    """WSN: weights and scores are trained together; scores go on from one task to the next.

    Args:
        network, training, seed, share: see `SubnetworkBaseline`.

    Attributes:
        trained_scores: of the trunk, as the last task left them.

    Source:
        Kang et al. 2022 (ICML), "Forget-free continual learning with winning subnetworks".
    """

    def __init__(
        self, network: MaskedNetwork, *, training: TrainingSettings, seed: int, share: float = 0.5
    ) -> None:
        super().__init__(network, training=training, seed=seed, share=share)
        self.shared = self.trunk(self.drawn())
        self.trained_scores = self.scores()

    def train(self, fit: Fit) -> None:
        head = self.head

        def values(leaves: Mapping[str, Tensor]) -> Masks:
            masks = self.largest_of(leaves)
            return {**{n: leaves[n] * masks[n] for n in self.shared}, head: leaves[head]}

        start = {**self.shared, **self.trained_scores, head: self.drawn("heads")[head]}
        found = fit(start, values, still=self.used)
        self.heads.append(found.pop(head))
        self.trained_scores = {name: found[name] for name in self.trained_scores}
        self.shared = {name: found[name] for name in self.shared}
        self.masks.append(
            {n: mask > 0.5 for n, mask in self.largest_of(self.trained_scores).items()}
        )

    def kept(self) -> Iterable[Tensor]:
        """Also what the next task starts from: weights that no mask keeps, and scores."""
        yield from self.shared.values()
        yield from self.trained_scores.values()
        yield from self.heads
        for masks in self.masks:
            yield from masks.values()


class ExclusiveSubnetworks(SubnetworkBaseline):
    """ExSSNeT: first a supermask, then the weights in it that no earlier task uses.

    A task's steps are divided between mask and weights. Weights start as SupSup's, signed
    constants, so that those that were never trained are in the seed.

    Args:
        network, training, seed, share: see `SubnetworkBaseline`.
        mask_part: share of the steps that go to the mask.

    Source:
        Yadav, Bansal 2023 (arXiv 2210.10209), without the start from similar tasks' masks (KKT).
    """

    def __init__(
        self,
        network: MaskedNetwork,
        *,
        training: TrainingSettings,
        seed: int,
        share: float = 0.5,
        mask_part: float = 0.5,
    ) -> None:
        if not 0 < mask_part < 1:
            raise ConfigError(f"mask_part must lie in (0, 1), got {mask_part!r}: of the steps")
        super().__init__(network, training=training, seed=seed, share=share)
        self.shared, self.mask_part = self.signs(), mask_part
        self._changed = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in self.shared.items()}

    def train(self, fit: Fit) -> None:
        head, weights, used = self.head, self.shared, self.used

        def masked(leaves: Mapping[str, Tensor]) -> Masks:
            masks = self.largest_of(leaves)
            return {**{n: w * masks[n] for n, w in weights.items()}, head: leaves[head]}

        found = fit({**self.scores(), head: self.drawn()[head]}, masked, part=(0, self.mask_part))
        masks = {name: mask > 0.5 for name, mask in self.largest_of(found).items()}

        def trained(leaves: Mapping[str, Tensor]) -> Masks:
            return {**{n: leaves[n] * masks[n] for n in weights}, head: leaves[head]}

        still = {name: used[name] | ~masks[name] for name in weights}
        start = {**weights, head: found[head]}
        found = fit(start, trained, still=still, part=(self.mask_part, 1))
        self.heads.append(found.pop(head))
        self.shared, self.masks = found, [*self.masks, masks]
        self._changed = {name: self._changed[name] | ~still[name] for name in weights}

    def kept(self) -> Iterable[Tensor]:
        """Weights that were trained; which ones these are, the masks say in their order."""
        for name, changed in self._changed.items():
            yield self.shared[name][changed]
        yield from self.heads
        for masks in self.masks:
            yield from masks.values()
