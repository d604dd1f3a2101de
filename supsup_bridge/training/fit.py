"""A lesson: the training of one task's mask from its images, from the first step to the last."""

from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.trainer import MaskTrainer, TrainingSettings, check_labels


class Batches:
    """Indices of the images of each step: shuffled anew every epoch, its last batch may be small.

    Args:
        images: how many there are.
        settings: batch size, epochs and how many steps at most.
        generator: of the order; what else draws from it between two steps does no harm.

    Example:
        >>> settings = TrainingSettings(epochs=2, batch=2)
        >>> [len(chosen) for chosen in Batches(3, settings, torch.Generator())]
        [2, 1, 2, 1]
    """

    def __init__(self, images: int, settings: TrainingSettings, generator: torch.Generator) -> None:
        self.images, self.batch, self.steps = images, settings.batch, settings.steps(images)
        self.done = 0
        self._generator = generator
        self._epoch = generator.get_state()  # when the present epoch's order was drawn
        self._order = torch.empty(0, dtype=torch.long)

    def __iter__(self) -> Iterator[Tensor]:
        per_epoch = ceil(self.images / self.batch)
        while self.done < self.steps:
            if self.done % per_epoch == 0:
                self._epoch = self._generator.get_state()
                self._order = torch.randperm(self.images, generator=self._generator)
            first = self.done % per_epoch * self.batch
            self.done += 1
            yield self._order[first : first + self.batch]

    def state(self) -> dict[str, Any]:
        """How many batches were given, and the generator as it was and is."""
        return {
            "done": self.done,
            "epoch": self._epoch,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of batches that were made alike."""
        self.done, self._epoch = state["done"], state["epoch"]
        self._generator.set_state(self._epoch)
        self._order = torch.randperm(self.images, generator=self._generator)
        self._generator.set_state(state["generator"])


class Lesson:
    """The training of one task's mask from its images, which can be taken up again in between.

    Args:
        network: the fixed network.
        images: (n, ...), standardised.
        labels: class within the task, integer (n,), below `network.outputs`.
        settings: how.
        scores: generator of the starting scores.
        batches: generator of the order of images and of the noise.
        mean: levels of the masks learned so far, to start from; None for a random start.

    Raises:
        ConfigError: no images, or labels that do not fit the outputs.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> images, labels = torch.eye(2), torch.tensor([0, 1])
        >>> lesson = Lesson(network, images, labels, TrainingSettings(), scores=g, batches=g)
        >>> masks = lesson.run(lambda step, loss: None)
        >>> lesson.batches.done
        6
    """

    def __init__(
        self,
        network: FixedNetwork,
        images: Tensor,
        labels: Tensor,
        settings: TrainingSettings,
        *,
        scores: torch.Generator,
        batches: torch.Generator,
        mean: Mapping[str, Tensor] | None = None,
    ) -> None:
        check_labels(images, labels, network.outputs)
        self.images, self.labels = images, labels
        self.batches = Batches(len(images), settings, batches)
        self.trainer = MaskTrainer(
            network,
            settings,
            scores=scores,
            noise=batches,
            steps=self.batches.steps,
            mean=mean,
            device=images.device,
        )

    def run(
        self, progress: Callable[[int, float], None], *, pause: Callable[[], None] = lambda: None
    ) -> Masks:
        """Take all steps that are left.

        Args:
            progress: told the number of each step and its loss.
            pause: called after each step, when `state` is one to go on from.

        Returns:
            The mask, name -> bool (*size).

        Raises:
            NumericalError: the loss or a score is not finite.
        """
        for chosen in self.batches:
            where = chosen.to(self.images.device)
            loss = self.trainer.step(self.images[where], self.labels[where])
            progress(self.batches.done, loss)
            pause()
        return self.trainer.masks()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, but for the images."""
        return {"batches": self.batches.state(), "trainer": self.trainer.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of a lesson that was made alike."""
        self.trainer.restore(state["trainer"])
        self.batches.restore(state["batches"])


def train_mask(
    network: FixedNetwork,
    images: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    *,
    scores: torch.Generator,
    batches: torch.Generator,
    mean: Mapping[str, Tensor] | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Masks:
    """Learn the binary mask of one task; see `MaskTrainer` for what is minimised.

    Args:
        network: the fixed network.
        images: (n, ...), standardised.
        labels: integer (n,).
        settings: how.
        scores: generator of the starting scores.
        batches: generator of the order of images and of the noise.
        mean: as in `Lesson`.
        progress: called after each step with the number of steps done and the loss.

    Returns:
        name -> bool (*size).

    Raises:
        ConfigError: no images, or labels that do not fit the outputs.
        NumericalError: the loss or a score is not finite.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> images, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> settings = TrainingSettings(epochs=2)
        >>> train_mask(network, images, labels, settings, scores=g, batches=g)["hidden1"].dtype
        torch.bool

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.
    """
    lesson = Lesson(network, images, labels, settings, scores=scores, batches=batches, mean=mean)
    return lesson.run(progress)
