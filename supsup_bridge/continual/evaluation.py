"""Evaluation of a learner: test data cut into disjoint halves, its tasks scored one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hopmask import ConfigError, EmptyMemoryError
from supsup_bridge.continual import scoring
from supsup_bridge.continual.checks import check_images
from supsup_bridge.continual.learning import Learning
from supsup_bridge.continual.numbers import whole
from supsup_bridge.data.task import Task
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.unit import UnitNetwork
from supsup_bridge.rng import stream
from supsup_bridge.stores.protocols import for_forward
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.data import LessonData, TensorData, lesson_data
from supsup_bridge.training.settings import TrainingSettings

_OF_UNITS = 64  # images from which a task of unit masks is inferred


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracy per task, in the three ways that a task's number can be known.

    Attributes:
        numbers: of the tasks.
        given: with the task given (GG).
        inferred: with the task inferred; the label counts (GNs).
        joint: with the task inferred; a wrong task is a wrong answer (GNu).
        tasks: share of the task inferences that found the task.
        inferences: how many there were. By protocol "batch" each decides 128 scored images at once,
            so that accuracies from few of them say little.

    Example:
        >>> given, half, quarter = (1.0,), (0.5,), (0.25,)
        >>> shares = {"given": given, "inferred": half, "joint": quarter, "tasks": half}
        >>> print(Evaluation(numbers=(5,), inferences=(4,), **shares))
        task   given  inferred  joint  task right  inferences
        5      1.000     0.500  0.250       0.500           4
        mean   1.000     0.500  0.250       0.500
    """

    numbers: tuple[int, ...]
    given: tuple[float, ...]
    inferred: tuple[float, ...]
    joint: tuple[float, ...]
    tasks: tuple[float, ...]
    inferences: tuple[int, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Name of each accuracy or share -> mean over the tasks."""
        return {name: sum(values) / len(values) for name, values in self._shares().items()}

    def __str__(self) -> str:
        columns = zip(*self._shares().values(), self.inferences, strict=True)
        rows = [(str(n), *row) for n, row in zip(self.numbers, columns, strict=True)]
        rows.append(("mean", *self.mean.values(), ""))
        head = "task   given  inferred  joint  task right  inferences"
        shown = (f"{n:<4}{a:8.3f}{b:10.3f}{c:7.3f}{d:12.3f}{e:>12}" for n, a, b, c, d, e in rows)
        return "\n".join([head, *map(str.rstrip, shown)])

    def _shares(self) -> dict[str, tuple[float, ...]]:
        counts = ("numbers", "inferences")
        return {name: values for name, values in vars(self).items() if name not in counts}


def evaluate(
    learner: Learning, data: Sequence[object], *, infer_samples: int | None, protocol: str
) -> Evaluation:
    """Accuracy of a learner on test data of its tasks; see `SupSup.evaluate`."""
    if protocol not in scoring.PROTOCOLS:
        known = ", ".join(scoring.PROTOCOLS)
        raise ConfigError(f"protocol must be one of {known}, got {protocol!r}")
    if protocol == "image" and infer_samples is not None:
        raise ConfigError(
            "protocol 'image' infers a task from the scored image itself: leave out infer_samples"
        )
    if learner.observer is not None:
        raise ConfigError("a task_free learner's masks are no tasks in order: use predict")
    if len(learner) == 0:
        raise EmptyMemoryError("no task was learned: call learn(data) first")
    if not hasattr(data, "__len__"):
        raise ConfigError(
            f"evaluate takes a list of the data of tasks, got {type(data).__name__}: give list(...)"
        )
    if not 0 < len(data) <= len(learner):
        raise ConfigError(f"evaluate takes data of 1 to {len(learner)} tasks, got {len(data)}")
    seed = learner.settings.seed
    if infer_samples is not None and ((given := whole(infer_samples)) is None or given < 1):
        raise ConfigError(f"infer_samples must be a positive whole number, got {infer_samples!r}")
    numbers, outputs = learner.tasks[: len(data)], learner.network.outputs
    scores = []
    for number, one in zip(numbers, data, strict=True):
        task = _checked(_halves(one, number=number, seed=seed, outputs=outputs), learner, protocol)
        samples = _samples(learner, infer_samples, pool=task.inference_count)
        scores.append(_scored(learner, number, task, protocol, samples))
    return Evaluation(
        numbers=numbers,
        given=tuple(score.given for score in scores),
        inferred=tuple(score.accuracy("GNs") for score in scores),
        joint=tuple(score.accuracy("GNu") for score in scores),
        tasks=tuple(sum(score.inferred) / len(score.inferred) for score in scores),
        inferences=tuple(len(score.inferred) for score in scores),
    )


def _samples(learner: Learning, given: int | None, *, pool: int) -> int:
    """Images that one inference sees, of so many; by default 1, of unit masks 64 or all."""
    if given is not None:
        return given
    if learner.settings.infer_samples is not None:
        return learner.settings.infer_samples
    unit = learner.settings.masks == "unit" or isinstance(learner.network, UnitNetwork)
    return min(_OF_UNITS, pool) if unit else 1


def _checked(task: Task, learner: Learning, protocol: str) -> Task:
    """A task with its images at hand; raises unless the learner can be asked about them."""
    pool, scored = task.inference_images, task.scored_images
    if protocol == "batch":
        check_images(pool, learner.image_shape)
    check_images(scored, learner.image_shape)
    check_labels(scored, task.scored_labels, learner.network.outputs)
    return replace(task, inference_images=pool, scored_images=scored)


def _scored(
    learner: Learning, number: int, task: Task, protocol: str, samples: int
) -> scoring.TaskScore:
    after = learner.numbers.last
    known = learner.memory.recall(task=number)
    generator = stream(learner.settings.seed, "evaluation", after, number)
    return scoring.score(
        learner.network,
        task,
        for_forward(known),
        learner.inferences.inference(learner.memory, after, number),
        scoring.Protocol(protocol, samples, generator),
        accepted={number: mask_digest(known.masks)},
        device=learner.network.device,
    )


def _halves(data: object, *, number: int, seed: int, outputs: int) -> Task:
    """Test data as a task whose inference and scored images are disjoint halves, cut by the seed.

    Args:
        data: a `Task`, which keeps the cut that it has, or whatever `lesson_data` takes.
        number: of the task.
        seed: of the cut.
        outputs: that labels lie among.

    Raises:
        ConfigError: fewer than two images, or labels that do not fit them.
    """
    if isinstance(data, Task):
        return data
    images, labels = _collected(lesson_data(data), stream(seed, "test", number))
    if len(images) < 2:
        raise ConfigError(
            f"test data of task {number} has {len(images)} images: an evaluation needs at least 2, "
            "one to infer the task from and one to score"
        )
    check_labels(images, labels, outputs)
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
