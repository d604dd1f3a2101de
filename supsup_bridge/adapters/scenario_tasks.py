"""The tasks of another library's scenario, with labels by place among the classes of each task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hopmask import ConfigError
from supsup_bridge.data.task import Made, Task, TaskStream
from supsup_bridge.rng import shuffled, stream


def places(labels: Tensor, classes: Tensor) -> Tensor:
    """Place of each label (n,) among ascending classes (k,).

    Raises:
        ConfigError: a label that is none of the classes.

    Example:
        >>> places(torch.tensor([7, 3, 7]), torch.tensor([3, 7]))
        tensor([1, 0, 1])
    """
    found = torch.searchsorted(classes, labels).clamp_max(len(classes) - 1)
    if not bool((classes[found] == labels).all()):
        raise ConfigError(
            f"images of classes {torch.unique(labels).tolist()} are not all of the task, which has "
            f"{classes.tolist()}: give test images of the classes that were trained, and leave out "
            "what adds images of other tasks"
        )
    return found


@dataclass(frozen=True)
class ScenarioImages:
    """Images of one task as the scenario has them.

    Attributes:
        dataset: of a length; dataset[i] begins with an image.
        labels: classes in the scenario (n,).
    """

    dataset: Any
    labels: Tensor

    @property
    def classes(self) -> Tensor:
        """Those of the labels, ascending (k,)."""
        found: Tensor = torch.unique(self.labels)
        return found


class OwnLabels(Dataset[tuple[Tensor, int]]):
    """Images of a task, with labels by place among its classes.

    Args:
        images: as the scenario has them.
        classes: of the task in the scenario, ascending (k,).

    Attributes:
        labels: places (n,).
        classes: as given.

    Raises:
        ConfigError: images of other classes.

    Example:
        >>> images = ScenarioImages([(torch.zeros(4), 7), (torch.ones(4), 3)], torch.tensor([7, 3]))
        >>> data = OwnLabels(images, torch.tensor([3, 7]))
        >>> data.labels, data.stacked().shape
        (tensor([1, 0]), torch.Size([2, 4]))
    """

    def __init__(self, images: ScenarioImages, classes: Tensor) -> None:
        self._dataset, self.classes = images.dataset, classes
        self.labels = places(images.labels, classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self._dataset[index][0]
        return image, int(self.labels[index])

    def stacked(self) -> Tensor:
        """All images (n, *shape), float32.

        Raises:
            ConfigError: no image, images that are no tensors of floats, or of several shapes.
        """
        found: Tensor | None = None
        for index in range(len(self)):
            image = self[index][0]
            if not isinstance(image, Tensor) or not image.is_floating_point():
                kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
                raise ConfigError(
                    f"an image of the scenario must be a tensor of floats, got {kind}: give the "
                    "scenario a transform such as torchvision's ToTensor()"
                )
            if found is None:
                found = torch.empty(len(self), *image.shape)
            if image.shape != found.shape[1:]:
                raise ConfigError(
                    f"images of a task have shapes {tuple(found.shape[1:])} and "
                    f"{tuple(image.shape)}: give the scenario a transform that makes them alike"
                )
            found[index] = image
        if found is None:
            raise ConfigError("a task of the scenario has no image: leave it out")
        return found


class ScenarioTasks(TaskStream):
    """The tasks of a scenario, for `SupSup.learn`, `SupSup.evaluate` and `Experiment(tasks=)`.

    Labels are places among the classes of the task. Test images are cut in two by the seed: one
    half infers the task, the other is scored. Images are read at each access.

    Args:
        train, test: number of a task -> its images.
        tasks: how many there are.
        seed: of the cut.
        name: of a task, before its number.

    Example:
        >>> images = [(torch.full((4,), float(i)), i) for i in range(6)]
        >>> def of(number: int) -> ScenarioImages:
        ...     own = images[2 * number : 2 * number + 2]
        ...     return ScenarioImages(own, torch.tensor([label for _, label in own]))
        >>> tasks = ScenarioTasks(of, of, tasks=3)
        >>> tasks[2].train_labels, tasks.classes_of(2)
        (tensor([0, 1]), tensor([4, 5]))
    """

    def __init__(
        self,
        train: Callable[[int], ScenarioImages],
        test: Callable[[int], ScenarioImages],
        *,
        tasks: int,
        seed: int = 0,
        name: str = "task",
    ) -> None:
        self._train = train

        def made(number: int) -> Task:
            images = train(number)
            classes = images.classes
            mine, others = (OwnLabels(one, classes) for one in (images, test(number)))
            order = shuffled(len(others), stream(seed, "halves", number))
            half = len(order) // 2
            return Task(
                name=f"{name} {number}",
                train_images=Made(mine.stacked, len(mine)),
                train_labels=mine.labels,
                inference_images=Made(lambda: others.stacked()[order[:half]], half),
                scored_images=Made(lambda: others.stacked()[order[half:]], len(order) - half),
                scored_labels=others.labels[order[half:]],
                classes=len(classes),
            )

        super().__init__(made, tasks=tasks)

    def classes_of(self, number: int) -> Tensor:
        """Classes of a task in the scenario: `classes_of(number)[label]` is that of a label."""
        return self._train(range(len(self))[number]).classes
