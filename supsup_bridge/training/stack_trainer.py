"""Training of several tasks' supermasks in one computation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.descent import Descent
from supsup_bridge.training.gradients import backward
from supsup_bridge.training.loss import MaskLoss
from supsup_bridge.training.scores import binariser, starting_scores
from supsup_bridge.training.settings import TrainingSettings


class StackTrainer:
    """Learns the masks of T tasks batch by batch, T ≥ 1; the network is not changed.

    What is minimised is the sum over the tasks of `MaskLoss`, whose terms share nothing. So each
    task learns what it learns alone, up to the rounding of its matrix products; see `MaskTrainer`
    for the rate and the average of the scores. Nothing here waits for the device.

    Args:
        network: the fixed network.
        settings: how.
        scores: generators of the starting scores, one a task.
        noise: generators of the noise in the contrast term, and of the shares of mixed images.
        means: levels to start from, one of each task; None for random starts.
        device: where the scores live; None for where the network is.

    Attributes:
        scores: name -> (T, *size).
        done: steps taken.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g, h = (torch.Generator().manual_seed(seed) for seed in (0, 1))
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> trainer = StackTrainer(network, TrainingSettings(), scores=[g, h], noise=[g, h])
        >>> trainer.step(torch.eye(2).expand(2, 2, 2), torch.tensor([[0, 1], [1, 0]])).shape
        torch.Size([2])
        >>> [masks["hidden1"].dtype for masks in trainer.masks()]
        [torch.bool, torch.bool]

    Source:
        Straight-through estimator: Bengio et al. 2013 (arXiv 1308.3432).
    """

    def __init__(
        self,
        network: FixedNetwork,
        settings: TrainingSettings,
        *,
        scores: Sequence[torch.Generator],
        noise: Sequence[torch.Generator],
        means: Sequence[Mapping[str, Tensor] | None] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.network, self.settings = network, settings
        self.device = network.device if device is None else torch.device(device)
        self._noise, self._binarise = noise, binariser(network, settings.sparsity)
        self._loss = MaskLoss(
            network=network, binarise=self._binarise, settings=settings, noise=noise
        )
        starts = [
            starting_scores(network, generator, binarise=self._binarise, mean=mean)
            for generator, mean in zip(scores, means or [None] * len(scores), strict=True)
        ]
        self.scores = {
            name: torch.stack([start[name] for start in starts]).to(self.device).requires_grad_()
            for name in network.mask_sizes
        }
        self._descent = Descent(self.scores, network.score_bounds, settings)

    @property
    def done(self) -> int:
        return self._descent.done

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step on images (T, n, ...) and labels (T, n), from any device; the losses (T,).

        Raises:
            ConfigError: images that do not fit the network.
        """
        losses = self.backward(images, labels)
        self.update()
        return losses

    def backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The first half of a step: the losses (T,), and the gradients of the scores."""
        return backward(self._loss, self._descent, images, labels, device=self.device)

    def update(self) -> None:
        """The second half of a step: the scores move, and with them their average."""
        self._descent.step()

    def masks(self) -> list[Masks]:
        """The masks as they are now, of each task: name -> bool (*size)."""
        with torch.no_grad():
            found = self._binarise(self._descent.result, stacked=True)
            bits = {name: mask > 0.5 for name, mask in found.items()}
        tasks = range(len(self._noise))
        return [{name: mask[task].clone() for name, mask in bits.items()} for task in tasks]

    def spoiled(self) -> dict[int, str]:
        """Number of each task with scores that are not finite -> the mask whose they are."""
        found = dict[int, str]()
        for name, score in reversed(self.scores.items()):
            finite = torch.isfinite(score.detach()).flatten(1).all(1)
            found |= dict.fromkeys((~finite).nonzero().flatten().tolist(), name)
        return found

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for its images: tensors, numbers and names."""
        noise = [generator.get_state() for generator in self._noise]
        return {**self._descent.state(), "noise": noise}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a trainer that was made alike."""
        self._descent.restore(state)
        for generator, kept in zip(self._noise, state["noise"], strict=True):
            generator.set_state(kept)
