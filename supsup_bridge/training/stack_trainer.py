"""Training of several tasks' supermasks in one computation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.precision import in_precision
from supsup_bridge.training.loss import MaskLoss, score_optimiser
from supsup_bridge.training.scores import binariser, starting_scores
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.transfer import sent

_TAU = 400  # steps after which Adam's rate is half of what it was


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
        self.network, self.settings, self.done = network, settings, 0
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
        averaged = self.scores if settings.optimiser == "adam" else {}
        self._averages = {name: score.detach().clone() for name, score in averaged.items()}
        self._optimiser = score_optimiser(self.scores, network.score_bounds, settings)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

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
        images, labels = sent(images, self.device), sent(labels, self.device, torch.int64)
        precision = self.settings.precision
        if precision != "float32" and images.ndim == 5:
            maps = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            images = torch.unflatten(maps, 0, images.shape[:2])
        with in_precision(precision, self.device):
            losses = self._loss(self.scores, images, labels, step=self.done + 1)
        self._optimiser.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def update(self) -> None:
        """The second half of a step: the scores move, and with them their average."""
        if self.settings.optimiser == "adam":
            for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * (1 / (1 + self.done / _TAU))
        self._optimiser.step()
        self.done += 1
        fading = min(self.settings.averaging, (1 + self.done) / (10 + self.done))
        for name, average in self._averages.items():
            average.lerp_(self.scores[name].detach(), 1 - fading)

    def masks(self) -> list[Masks]:
        """The masks as they are now, of each task: name -> bool (*size)."""
        with torch.no_grad():
            found = self._binarise(self._averages or self.scores, stacked=True)
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
        return {
            "done": self.done,
            "scores": {name: score.detach() for name, score in self.scores.items()},
            "averages": self._averages,
            "noise": [generator.get_state() for generator in self._noise],
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a trainer that was made alike."""
        self.done = state["done"]
        with torch.no_grad():
            for name, score in self.scores.items():
                score.copy_(state["scores"][name])
            for name, average in self._averages.items():
                average.copy_(state["averages"][name])
        for generator, kept in zip(self._noise, state["noise"], strict=True):
            generator.set_state(kept)
        self._optimiser.load_state_dict(state["optimiser"])
