"""A learner as a module over all classes of a scenario, and its tasks learned step by step."""

from math import log

import torch
from torch import Tensor, nn

from hopmask import ConfigError, NumericalError
from supsup_bridge.adapters.scenario_tasks import OwnLabels, places
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.training.data import lesson_data

_UNLIKELY = log(1e-9)  # of classes that the inferred task does not have


class StreamLogits(nn.Module):
    """The learner as a module: logits over all classes of a stream, for images of unknown task.

    Logits are log-probabilities under the mask of the inferred task; classes of other tasks have
    log 10⁻⁹. While nothing is learned, all classes are equally likely.

    Args:
        learner: that predicts.
        classes: of the whole stream.

    Attributes:
        classes_of: number of each task -> its classes in the stream, in the order of its labels.

    Example:
        >>> learner = SupSup("lenet-300-100", inputs=4, outputs=8)
        >>> images = torch.randn(6, 4)
        >>> task = learner.learn((images, torch.arange(6) % 2))
        >>> model = StreamLogits(learner, 10)
        >>> model.classes_of[task] = torch.tensor([3, 7])
        >>> model(images).argmax(-1).unique()
        tensor([3, 7])
    """

    def __init__(self, learner: SupSup, classes: int) -> None:
        super().__init__()
        self.learner, self.classes = learner, classes
        self.classes_of: dict[int, Tensor] = {}

    def forward(self, images: Tensor, *, together: bool = False, task: int | None = None) -> Tensor:
        """(n, classes), float32; arguments as of `SupSup.predict`."""
        if not self.learner.tasks:
            return images.new_full((len(images), self.classes), -log(self.classes))
        found = self.learner.predict(images, together=together, task=task)
        return self.spread(found.logits, found.task)

    def spread(self, logits: Tensor, tasks: Tensor) -> Tensor:
        """Logits (n, outputs) of tasks (n,) as log-probabilities of all classes, (n, classes)."""
        found = logits.new_full((len(logits), self.classes), _UNLIKELY)
        for task in torch.unique(tasks).tolist():
            rows = (tasks == task).nonzero()
            names = self.classes_of[task].to(logits.device)
            own = logits[rows[:, 0], : len(names)]
            found[rows, names] = own.log_softmax(-1).clamp_min(_UNLIKELY)
        return found


class StepwiseTask:
    """The next task of a learner, learned on the batches that another library's loop gives.

    Args:
        model: whose learner learns it; it has the task's classes from now on.
        data: all images of the task, which the content address reads once the mask is learned.

    Attributes:
        number: of the task.

    Raises:
        ConfigError: classes that exceed the model's or the network's, or a learner that is not
            given tasks.

    Example:
        >>> from supsup_bridge.adapters.scenario_tasks import ScenarioImages
        >>> images, labels = torch.randn(6, 4), torch.tensor([3, 7] * 3)
        >>> data = OwnLabels(ScenarioImages(images[:, None], labels), torch.tensor([3, 7]))
        >>> model = StreamLogits(SupSup("lenet-300-100", inputs=4, outputs=8), 10)
        >>> task = StepwiseTask(model, data)
        >>> for _ in range(5):
        ...     loss = task.step(images, labels)
        >>> task.keep()
        >>> model(images).argmax(-1).unique()
        tensor([3, 7])
    """

    def __init__(self, model: StreamLogits, data: OwnLabels) -> None:
        learner, classes = model.learner, data.classes
        if int(classes[-1]) >= model.classes or len(classes) > learner.network.outputs:
            raise ConfigError(
                f"a task has {len(classes)} classes up to {int(classes[-1])}, the stream "
                f"{model.classes} and the network {learner.network.outputs} outputs: give "
                f"classes={int(classes[-1]) + 1}, or more outputs"
            )
        self.number = learner.numbers.next
        self._model, self._classes, self._data = model, classes, lesson_data(data)
        self._trainer = learner.lesson(self._data, task=self.number).trainer
        self._image_shape: tuple[int, ...] | None = None
        model.classes_of[self.number] = classes

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step on a batch (n, *shape) of classes (n,) in the stream; its loss.

        Raises:
            ConfigError: images that do not fit the network, or of other classes.
        """
        own = places(labels, self._classes.to(labels))
        losses = self._trainer.step(images[None], own[None])
        self._image_shape = tuple(images.shape[1:])
        return losses[0]

    def logits(self, images: Tensor) -> Tensor:
        """Those of `StreamLogits` under the mask as it is, (n, classes)."""
        learner = self._model.learner
        (masks,) = self._trainer.masks()
        with torch.no_grad():
            logits = learner.network(images, {name: mask.float() for name, mask in masks.items()})
        return self._model.spread(logits, images.new_full((len(images),), self.number).long())

    def keep(self) -> None:
        """Keep the mask as it is in the learner's memory.

        Raises:
            ConfigError: no step was taken, or the learner learned another task meanwhile.
            NumericalError: scores that are not finite. In either case the task is not learned.
        """
        if self._image_shape is None:
            raise ConfigError("a task needs at least one batch: give at least one epoch")
        if spoiled := self._trainer.spoiled():
            raise NumericalError(
                f"scores of mask '{spoiled[0]}' hold NaN: lower the learning rate or check the "
                "images. The task was not learned"
            )
        (masks,) = self._trainer.masks()
        learner = self._model.learner
        learned = learner.learned(
            masks, self._data, image_shape=self._image_shape, task=self.number
        )
        if learner.numbers.next != self.number:
            raise ConfigError(
                f"the learner learned another task since this one, {self.number}, began: keep or "
                "drop a task before the next one begins, and keep it once"
            )
        learner.keep(learned, self._data)

    def drop(self) -> None:
        """Leave the task unlearned."""
        del self._model.classes_of[self.number]
