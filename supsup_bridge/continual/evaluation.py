"""What a learner's `evaluate` reports, and the cut of test data into disjoint halves."""

from dataclasses import dataclass

import torch

from hopmask import ConfigError
from supsup_bridge.data.task import Task
from supsup_bridge.rng import stream
from supsup_bridge.training.data import LessonData, TensorData, lesson_data
from supsup_bridge.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracy per task, in the three ways that a task's number can be known.

    Attributes:
        given: with the task given (GG).
        inferred: with the task inferred; the label counts (GNs).
        joint: with the task inferred; a wrong task is a wrong answer (GNu).
        tasks: share of the task inferences that found the task.

    Example:
        >>> print(Evaluation(given=(1.0,), inferred=(0.5,), joint=(0.25,), tasks=(0.5,)))
        task   given  inferred  joint  task right
        0      1.000     0.500  0.250       0.500
        mean   1.000     0.500  0.250       0.500
    """

    given: tuple[float, ...]
    inferred: tuple[float, ...]
    joint: tuple[float, ...]
    tasks: tuple[float, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Name of each measure -> mean over the tasks."""
        return {name: sum(values) / len(values) for name, values in vars(self).items()}

    def __str__(self) -> str:
        columns = zip(*vars(self).values(), strict=True)
        rows = [(str(task), *row) for task, row in enumerate(columns)]
        rows.append(("mean", *self.mean.values()))
        head = "task   given  inferred  joint  task right"
        return "\n".join(
            [head, *(f"{n:<4}{a:8.3f}{b:10.3f}{c:7.3f}{d:12.3f}" for n, a, b, c, d in rows)]
        )


def halves(data: object, *, number: int, seed: int) -> Task:
    """Test data as a task whose inference and scored images are disjoint halves, cut by the seed.

    Args:
        data: a `Task`, which keeps the cut that it has, or whatever `lesson_data` takes.
        number: of the task.
        seed: of the cut.

    Raises:
        ConfigError: fewer than two images.
    """
    if isinstance(data, Task):
        return data
    images, labels = _collected(lesson_data(data), stream(seed, "test", number))
    if len(images) < 2:
        raise ConfigError(
            f"test data of task {number} has {len(images)} images: an evaluation needs at least 2, "
            "one to infer the task from and one to score"
        )
    order = torch.randperm(len(images), generator=stream(seed, "halves", number))
    order = order.to(images.device)
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    return Task(
        name=f"task {number}",
        train_images=images[:0],
        train_labels=labels[:0],
        inference_images=images[first],
        scored_images=images[second],
        scored_labels=labels[second],
    )


def _collected(data: LessonData, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """All images and labels."""
    if isinstance(data, TensorData):
        return data.images, data.labels
    parts = list(data.batches(TrainingSettings(epochs=1), generator))
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])
