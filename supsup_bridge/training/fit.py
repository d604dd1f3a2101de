"""A lesson: the training of one task's mask from its data, from the first step to the last."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.batches import Place
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.lessons import Lessons
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.stack_trainer import StackTrainer


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
        self._lessons = Lessons(
            network, [data], settings, scores=[scores], batches=[batches], means=[mean]
        )

    @property
    def batches(self) -> Place:
        """How far the batches are."""
        return self._lessons.batches[0]

    @property
    def trainer(self) -> StackTrainer:
        """Of the one task."""
        return self._lessons.trainer

    def run(
        self,
        progress: Callable[[int, float], None] = lambda step, loss: None,
        *,
        pause: Callable[[], None] = lambda: None,
        seen: Callable[[Tensor, Tensor], None] = lambda images, labels: None,
    ) -> Masks:
        """Take all steps that are left.

        Args:
            progress: called with the number of steps done and the loss, after each step on the
                CPU; elsewhere in bunches, since reading a loss waits for the device.
            pause: called after each step, when `state` can be taken.
            seen: called after each step with its images and labels, as the data gave them.

        Returns:
            The mask, name -> bool (*size).

        Raises:
            ConfigError: images or labels of a batch that do not fit the network.
            NumericalError: the loss or a score is not finite.
        """
        return self._lessons.run(
            lambda step, losses: progress(step, losses[0]),
            pause=pause,
            seen=lambda images, labels: seen(images[0], labels[0]),
        )[0]

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for the data."""
        return self._lessons.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a lesson that was made alike."""
        self._lessons.restore(state)


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
        progress: as in `Lesson.run`.

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
