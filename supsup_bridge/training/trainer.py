"""Training of one task's supermask by the straight-through estimator."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hopmask import NumericalError
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.precision import in_precision
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.loss import MaskLoss, score_optimiser
from supsup_bridge.training.scores import binariser, starting_scores
from supsup_bridge.training.settings import TrainingSettings

_TAU = 400  # steps after which Adam's rate is half of what it was


class MaskTrainer:
    """Learns one task's mask batch by batch; the network is not changed.

    What is minimised: see `MaskLoss`. With Adam, the rate at step t is that of the settings over
    1 + t/τ, τ = 400, and the mask is that of a moving average of the scores, of which step t leaves
    (1 + t) / (10 + t), `averaging` of the settings at most; neither needs to know how many steps
    there will be. With SGD, the rate stays as it is and the mask is that of the last scores, as in
    the paper.

    Measured against cosine decay to a known end and the last scores, on held-out training images,
    three permutations (`python benchmarks/schedules.py --table`): accuracy at 50, 100, 200, 500 and
    1000 steps of PermutedMNIST is ahead by 0.0383, 0.0094, 0.0051, 0.0006 and 0.0008 with hashed
    masks, and by 0.0228, 0.0142, 0.0077, 0.0018 and −0.0008 with weight masks. Where it is behind,
    on any benchmark measured, it is by no more than one standard error.

    Args:
        network: the fixed network.
        settings: how.
        scores: generator of the starting scores.
        noise: generator of the noise in the contrast term, and of the shares of mixed images.
        mean: levels of the masks learned so far, to start from; None for a random start.
        device: where the scores live; None for where the network is.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> trainer = MaskTrainer(network, TrainingSettings(), scores=g, noise=g)
        >>> loss = trainer.step(torch.eye(2), torch.tensor([0, 1]))
        >>> trainer.masks()["hidden1"].dtype
        torch.bool

    Source:
        Straight-through estimator: Bengio et al. 2013 (arXiv 1308.3432).
    """

    def __init__(
        self,
        network: FixedNetwork,
        settings: TrainingSettings,
        *,
        scores: torch.Generator,
        noise: torch.Generator,
        mean: Mapping[str, Tensor] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.network, self.settings, self.done = network, settings, 0
        self.binarise = binariser(network, settings.sparsity)
        self._noise = noise
        self._loss = MaskLoss(
            network=network, binarise=self.binarise, settings=settings, noise=noise
        )
        self.device = network.device if device is None else torch.device(device)
        start = starting_scores(network, scores, binarise=self.binarise, mean=mean)
        self.scores = {
            name: score.to(self.device).requires_grad_() for name, score in start.items()
        }
        averaged = self.scores if settings.optimiser == "adam" else {}
        self._averages = {name: score.detach().clone() for name, score in averaged.items()}
        self._optimiser = score_optimiser(self.scores, network.score_bounds, settings)
        self._schedule = _schedule(self._optimiser, settings)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step on images (n, ...) and labels (n,), from any device; returns the loss.

        Raises:
            ConfigError: images or labels that do not fit the network.
            NumericalError: the loss is not finite.
        """
        check_labels(images, labels, self.network.outputs)
        images, labels = images.to(self.device), labels.to(self.device, torch.int64)
        precision = self.settings.precision
        if precision != "float32" and images.ndim == 4:
            images = images.to(memory_format=torch.channels_last)
        with in_precision(precision, self.device):
            loss = self._loss(self.scores, images, labels, step=self.done + 1)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        if not (value == value and abs(value) < float("inf")):
            raise NumericalError(
                f"the loss became {value} at step {self.done + 1}: lower the learning rate "
                f"({self.settings.rate}) or check the images for NaN. The task was not learned"
            )
        self._optimiser.step()
        self._schedule.step()
        self.done += 1
        fading = min(self.settings.averaging, (1 + self.done) / (10 + self.done))
        for name, average in self._averages.items():
            average.lerp_(self.scores[name].detach(), 1 - fading)
        return value

    def masks(self) -> Masks:
        """The mask as it is now, name -> bool (*size).

        Raises:
            NumericalError: scores that are not finite.
        """
        for name, score in self.scores.items():
            if not bool(torch.isfinite(score).all()):
                raise NumericalError(f"scores of mask '{name}' hold NaN: lower the learning rate")
        with torch.no_grad():
            scores = self._averages or self.scores
            return {name: mask > 0.5 for name, mask in self.binarise(scores).items()}

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for its images: tensors, numbers and names."""
        return {
            "done": self.done,
            "scores": {name: score.detach() for name, score in self.scores.items()},
            "averages": self._averages,
            "noise": self._noise.get_state(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": {
                name: value
                for name, value in self._schedule.state_dict().items()
                if name != "lr_lambdas"  # a function, the same for all
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a trainer that was made alike."""
        self.done = state["done"]
        with torch.no_grad():
            for name, score in self.scores.items():
                score.copy_(state["scores"][name])
            for name, average in self._averages.items():
                average.copy_(state["averages"][name])
        self._noise.set_state(state["noise"])
        self._optimiser.load_state_dict(state["optimiser"])
        vars(self._schedule).update(state["schedule"])


def _schedule(
    optimiser: torch.optim.Optimizer, settings: TrainingSettings
) -> torch.optim.lr_scheduler.LambdaLR:
    if settings.optimiser == "sgd":
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 1.0)
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 1 / (1 + t / _TAU))
