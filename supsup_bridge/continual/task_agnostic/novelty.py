"""NNs: whether images are of a task that no mask was learned for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.objectives import Objective
from supsup_bridge.inference.slopes import slopes
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import GrowingStore
from supsup_bridge.training.settings import is_number

EPSILON = 0.04
_SILENT = 1e-5  # spread of a layer's supports, relative to Σ|g|, that is no more than rounding


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Answer of a novelty test.

    Attributes:
        mask: the mask that the images suit best.
        strength: how well they do, in the test's own units.
        new: whether the images are of a task that no mask was learned for.
        blind: the images say nothing; then neither known nor new.
    """

    mask: int
    strength: float
    new: bool
    blind: bool = False


class Novelty(Protocol):
    """The test of a `TaskAgnosticLearner`: `NoveltyTest` of a bank, `RecallNovelty` of a memory."""

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        ...

    @property
    def store(self) -> GrowingStore:
        """Where masks go."""
        ...

    def judge(self, images: Tensor) -> Verdict:
        """Judge images (n, ...), all of one task."""
        ...

    def state(self) -> dict[str, Any]:
        """What earlier judgements left."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of another test over the same store."""
        ...


class NoveltyTest:
    """Are these images of a task that one of k masks was learned for?

    The support of mask i in layer l is s_il = −⟨g_l, M_il⟩ with g = ∂H/∂M at the superposition of
    the k masks and one blank mask, level at each layer's density ρ: M̄ = (Σ M_i + ρ)/(k + 1). A mask
    unrelated to the images, its bits independent with means M̄, has mean −⟨g_l, M̄_l⟩ and variance
    σ_l² = Σ g_l² M̄_l(1 − M̄_l). The layer in which a mask stands out most decides:
    z_i = max_l (s_il + ⟨g_l, M̄_l⟩)/σ_l, and the images are new where ε · max_i z_i < 1.

    The paper tests whether k · max softmax(s) < 1 + ε instead. That is always so for k = 1, and for
    many masks the scale of ∇H shrinks: with 20 masks of PermutedMNIST it measured 1.13 to 1.15 for
    unknown tasks and 1.22 for a known one, with 2 masks up to 1.4 for unknown ones, so that no one
    ε serves both. z was 41 to 94 for known tasks, from 100 batches of training on, and at most 21
    for unknown ones, 8 from 20 masks on (1 to 39 masks, held-out training images). These figures
    are of PermutedMNIST and masks trained with dilution. Where tasks share their inputs' statistics
    (the split benchmarks), a mask is as sure of another task's images as of its own, and neither
    statistic tells them apart.

    Args:
        network: the fixed network.
        bank: the masks.
        objective: H.
        epsilon: 1/ε is the z from which on a mask is known.

    Raises:
        ConfigError: an epsilon that is not positive.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.6 (NNs); the statistic z is ours.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        bank: MaskBank,
        objective: Objective,
        epsilon: float = EPSILON,
    ) -> None:
        if not is_number(epsilon) or not epsilon > 0:
            raise ConfigError(f"epsilon must be a positive number, got {epsilon!r}")
        self.network, self.store, self.objective = network, bank, objective
        self.epsilon = epsilon

    def judge(self, images: Tensor) -> Verdict:
        """Judge images (n, ...), all of one task; the verdict's strength is z.

        Raises:
            EmptyMemoryError: the bank holds no mask.
        """
        count = self.store.count
        mean = {n: (count * m + m.mean()) / (count + 1) for n, m in self.store.mean.items()}
        slope = slopes(self.network, self.objective, images[None], mean)
        best = torch.full((count,), -torch.inf, device=images.device)
        for layer, gradient in slope.items():
            alone = {name: g[0] * (name == layer) for name, g in slope.items()}
            spread = (gradient[0].square() * mean[layer] * (1 - mean[layer])).sum().sqrt()
            expected = (gradient[0] * mean[layer]).sum()
            z = (expected - self.store.scores(alone)) / spread.clamp_min(1e-30)
            silent = spread <= _SILENT * gradient.abs().sum()  # all masks alike: rounding alone
            best = torch.maximum(best, torch.where(silent, 0, z))
        mask = int(best.argmax())
        strength = float(best[mask])
        blind = not any(bool(g.any()) for g in slope.values())
        new = self.epsilon * strength < 1 and not blind
        return Verdict(mask=mask, strength=strength, new=new, blind=blind)

    def state(self) -> dict[str, Any]:
        """Nothing: every judgement stands for itself."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to continue from."""
