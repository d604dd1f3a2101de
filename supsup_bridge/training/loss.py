"""What the training of a mask minimises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.transfer import sent

_DILUTION = 0.2  # λ: share of the mask in a diluted one


class AsMasks(Protocol):
    """How trained tensors become the masks that a network is given: a `Binariser`, for example."""

    def __call__(self, scores: Mapping[str, Tensor], *, stacked: bool = False) -> Masks:
        """Masks of the tensors, differentiable; `stacked`: of several tasks."""
        ...

    def blank(self, name: str) -> float:
        """Level of a mask that says nothing."""
        ...


@dataclass(frozen=True, kw_only=True)
class MaskLoss:
    """CE(f(x, m), y) + contrast · CE(f(x + noise, m), uniform) of the masks m of some scores.

    Targets y are smoothed where the settings say so. With mixup a, image i is
    (1 − s) x_i + s x_{i−1}, s uniform in [0, a/2] and one for the batch, and so is its target.

    The second term keeps the outputs undecided away from the task's data, so that the entropy of a
    wrong task's mask is high. Some steps (`diluted_every`) see m̃ = b + λ(m − b) in place of m, with
    b the level of a blank mask and λ = 0.2: the mask learns to be recognised where it is one of
    many, in a superposition.

    There are T tasks, T ≥ 1, each with scores, images and a generator of its own: nothing that one
    of them holds or draws enters the loss of another.

    Args:
        network: the fixed network.
        binarise: how scores become masks.
        settings: weight and noise of the contrast term, and when a mask is diluted.
        noise: generators of the noise, and of the shares in mixed images, one a task.

    Source:
        Contrast term: Hendrycks et al. 2019 (outlier exposure, arXiv 1812.04606), with the task's
        own images under noise as the outliers. Dilution is ours.
    """

    network: FixedNetwork
    binarise: AsMasks
    settings: TrainingSettings
    noise: Sequence[torch.Generator]

    def __call__(
        self, scores: Mapping[str, Tensor], images: Tensor, labels: Tensor, *, step: int
    ) -> Tensor:
        """The tasks' losses (T,) at a step.

        Args:
            scores: name -> (T, *size).
            images: (T, n, ...).
            labels: (T, n).
            step: counted from 1.
        """
        masks = self.binarise(scores, stacked=True)
        every = self.settings.diluted_every
        if every and step % every == 0:
            masks = self._diluted(masks)
        images, targets = self._mixed(images, labels)
        if self.settings.contrast == 0:
            return self._right(self._logits(images, masks), targets)
        noise = [
            torch.randn(images.shape[1:], generator=g, dtype=torch.float32, device=g.device)
            for g in self.noise
        ]
        noisy = images + sent(torch.stack(noise), images.device) * self.settings.noise
        if self.network.pointwise:
            clean, away = self._logits(torch.cat([images, noisy], 1), masks).chunk(2, 1)
        else:  # the noisy images must not enter the statistics of the others
            clean, away = self._logits(images, masks), self._logits(noisy, masks)
        undecided = -F.log_softmax(away, -1).mean((1, 2))
        return self._right(clean, targets) + self.settings.contrast * undecided

    def _right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of each task (T,)."""
        entropies = F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(0, 1),
            label_smoothing=self.settings.smoothing,
            reduction="none",
        )
        return entropies.reshape(logits.shape[:2]).mean(1)

    def _mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images to look at, and targets: labels (T, n), or shares of all outputs."""
        if self.settings.mixup == 0:
            return images, labels
        drawn = [
            torch.rand((), generator=g, dtype=torch.float32, device=g.device) for g in self.noise
        ]
        shares = torch.stack(drawn).double() * (self.settings.mixup / 2)
        targets = F.one_hot(labels, self.network.outputs).float()

        def mix(values: Tensor) -> Tensor:
            share = sent(shares, values.device, values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
            return torch.lerp(values, values.roll(1, 1), share)

        return mix(images), mix(targets)

    def _logits(self, images: Tensor, masks: Masks) -> Tensor:
        """In full precision, whatever the layers compute in."""
        if len(images) == 1:  # plain layers are faster than layers over a batch of weights
            one = {name: mask.squeeze(0) for name, mask in masks.items()}
            logits: Tensor = self.network(images.squeeze(0), one).unsqueeze(0)
        else:
            logits = self.network(images, masks)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def _diluted(self, masks: Masks) -> Masks:
        blank = {name: self.binarise.blank(name) for name in masks}
        return {n: blank[n] + _DILUTION * (mask - blank[n]) for n, mask in masks.items()}
