"""Training of one task's supermask by the straight-through estimator."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hopmask import NumericalError
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.finite import check_loss
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.stack_trainer import StackTrainer


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
        self.network, self.settings = network, settings
        self._stack = StackTrainer(
            network, settings, scores=[scores], noise=[noise], means=[mean], device=device
        )

    @property
    def done(self) -> int:
        """Steps taken."""
        return self._stack.done

    @property
    def scores(self) -> dict[str, Tensor]:
        """The scores as they are now, name -> (*size)."""
        return {name: score.squeeze(0) for name, score in self._stack.scores.items()}

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step on images (n, ...) and labels (n,), from any device; returns the loss.

        Raises:
            ConfigError: images or labels that do not fit the network.
            NumericalError: the loss is not finite; no score has moved.
        """
        check_labels(images, labels, self.network.outputs)
        loss = float(self._stack.backward(images[None], labels[None]))
        check_loss(loss, step=self.done + 1, rate=self.settings.rate)
        self._stack.update()
        return loss

    def masks(self) -> Masks:
        """The mask as it is now, name -> bool (*size).

        Raises:
            NumericalError: scores that are not finite.
        """
        for name in self._stack.spoiled().values():
            raise NumericalError(f"scores of mask '{name}' hold NaN: lower the learning rate")
        return self._stack.masks()[0]

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for its images: tensors, numbers and names."""
        return self._stack.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a trainer that was made alike."""
        self._stack.restore(state)
