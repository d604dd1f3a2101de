"""What the training of a mask minimises, and the optimiser that does it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.scores import Binariser
from supsup_bridge.training.settings import TrainingSettings

_BOUND = 0.1  # where scores start, for which Adam's rate is meant as it is
_DILUTION = 0.2  # λ: share of the mask in a diluted one


@dataclass(frozen=True, kw_only=True)
class MaskLoss:
    """CE(f(x, m), y) + contrast · CE(f(x + noise, m), uniform) of the mask m of some scores.

    Targets y are smoothed where the settings say so. With mixup a, image i is
    (1 − s) x_i + s x_{i−1}, s uniform in [0, a/2] and one for the batch, and so is its target.

    The second term keeps the outputs undecided away from the task's data, so that the entropy of a
    wrong task's mask is high. Some steps (`diluted_every`) see m̃ = b + λ(m − b) in place of m, with
    b the level of a blank mask and λ = 0.2: the mask learns to be recognised where it is one of
    many, in a superposition.

    Args:
        network: the fixed network.
        binarise: how scores become masks.
        settings: weight and noise of the contrast term, and when a mask is diluted.
        noise: generator of the noise, and of the shares in mixed images.

    Source:
        Contrast term: Hendrycks et al. 2019 (outlier exposure, arXiv 1812.04606), with the task's
        own images under noise as the outliers. Dilution is ours.
    """

    network: FixedNetwork
    binarise: Binariser
    settings: TrainingSettings
    noise: torch.Generator

    def __call__(
        self, scores: Mapping[str, Tensor], images: Tensor, labels: Tensor, *, step: int
    ) -> Tensor:
        """The loss at a step, counted from 1, for images (n, ...) and labels (n,)."""
        masks = self.binarise(scores)
        every = self.settings.diluted_every
        if every and step % every == 0:
            masks = self._diluted(masks)
        images, targets = self._mixed(images, labels)
        right = partial(F.cross_entropy, target=targets, label_smoothing=self.settings.smoothing)
        if self.settings.contrast == 0:
            return right(self._logits(images, masks))
        where = self.noise.device
        noise = torch.randn(images.shape, generator=self.noise, dtype=torch.float32, device=where)
        noisy = images + noise.to(images.device) * self.settings.noise
        if self.network.pointwise:
            clean, away = self._logits(torch.cat([images, noisy]), masks).chunk(2)
        else:  # the noisy images must not enter the statistics of the others
            clean, away = self._logits(images, masks), self._logits(noisy, masks)
        undecided = -F.log_softmax(away, -1).mean()
        return right(clean) + self.settings.contrast * undecided

    def _mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images to look at, and targets: labels (n,), or shares of all outputs (n, outputs)."""
        if self.settings.mixup == 0:
            return images, labels
        where = self.noise.device
        drawn = torch.rand((), generator=self.noise, dtype=torch.float32, device=where)
        share = float(drawn) * self.settings.mixup / 2
        targets = F.one_hot(labels, self.network.outputs).float()
        mixed, mixed_targets = (torch.lerp(v, v.roll(1, 0), share) for v in (images, targets))
        return mixed, mixed_targets

    def _logits(self, images: Tensor, masks: Masks) -> Tensor:
        """In full precision, whatever the layers compute in."""
        logits: Tensor = self.network(images, masks)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def _diluted(self, masks: Masks) -> Masks:
        blank = {name: self.binarise.blank(name) for name in masks}
        return {n: blank[n] + _DILUTION * (mask - blank[n]) for n, mask in masks.items()}


def score_optimiser(
    scores: Mapping[str, Tensor], bounds: Mapping[str, float], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimiser of some scores; Adam's rate is in proportion to where each score starts.

    Args:
        scores: name -> scores, leaves of the graph.
        bounds: name -> the scores start within ± this.
        settings: which optimiser, and its rate.
    """
    if settings.optimiser == "sgd":
        return torch.optim.SGD(scores.values(), lr=settings.rate, momentum=0.9, weight_decay=1e-4)
    return torch.optim.Adam(
        [
            {"params": [score], "lr": settings.rate * (bounds[name] / _BOUND)}
            for name, score in scores.items()
        ]
    )
