"""A lesson: the training of one task's mask from its data, from the first step to the last."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.trainer import MaskTrainer


class Lesson:
    """The training of one task's mask; its `state` between two steps continues it elsewhere.

    Args:
        network: the fixed network.
        data: labelled images of the task; labels are below `network.outputs`.
        settings: how.
        scores: generator of the starting scores.
        batches: generator of the order of images, their changes, the noise and the mixing.
        mean: levels of the masks learned so far, to start from; None for a random start.

    Raises:
        ConfigError: no images, or labels that do not fit the outputs.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> data = TensorData(torch.eye(2), torch.tensor([0, 1]))
        >>> lesson = Lesson(network, data, TrainingSettings(), scores=g, batches=g)
        >>> masks = lesson.run()
        >>> lesson.batches.done
        6
    """

    def __init__(
        self,
        network: FixedNetwork,
        data: LessonData,
        settings: TrainingSettings,
        *,
        scores: torch.Generator,
        batches: torch.Generator,
        mean: Mapping[str, Tensor] | None = None,
    ) -> None:
        data.check(network.outputs)
        self.batches = data.batches(settings, batches, alone=network.pointwise)
        self.trainer = MaskTrainer(network, settings, scores=scores, noise=batches, mean=mean)

    def run(
        self,
        progress: Callable[[int, float], None] = lambda step, loss: None,
        *,
        pause: Callable[[], None] = lambda: None,
        seen: Callable[[Tensor, Tensor], None] = lambda images, labels: None,
    ) -> Masks:
        """Take all steps that are left.

        Args:
            progress: called after each step with the number of steps done and the loss.
            pause: called after each step, when `state` can be taken.
            seen: called after each step with its images and labels, as the data gave them.

        Returns:
            The mask, name -> bool (*size).

        Raises:
            ConfigError: images or labels of a batch that do not fit the network.
            NumericalError: the loss or a score is not finite.
        """
        for images, labels in self.batches:
            loss = self.trainer.step(images, labels)
            seen(images, labels)
            progress(self.batches.done, loss)
            pause()
        return self.trainer.masks()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for the data."""
        return {"batches": self.batches.state(), "trainer": self.trainer.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a lesson that was made alike."""
        self.trainer.restore(state["trainer"])
        self.batches.restore(state["batches"])


def train_mask(
    network: FixedNetwork,
    images: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    *,
    generator: torch.Generator,
    mean: Mapping[str, Tensor] | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Masks:
    """Learn the binary mask of one task; see `MaskLoss` for what is minimised.

    Args:
        network: the fixed network.
        images: (n, ...), standardised.
        labels: integer (n,).
        settings: how.
        generator: of the starting scores, and of all that a lesson draws.
        mean: as in `Lesson`.
        progress: called after each step with the number of steps done and the loss.

    Returns:
        name -> bool (*size).

    Raises:
        ConfigError: no images, labels that do not fit the outputs, or images that do not fit the
            network.
        NumericalError: the loss or a score is not finite.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> images, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> settings = TrainingSettings(epochs=2)
        >>> train_mask(network, images, labels, settings, generator=g)["hidden1"].dtype
        torch.bool

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.
    """
    data = TensorData(images, labels)
    lesson = Lesson(network, data, settings, scores=generator, batches=generator, mean=mean)
    return lesson.run(progress)
