"""How Avalanche's strategies learn a task here: their batches, rate, loss, and random numbers."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks import DatasetExperience, EagerCLStream
from avalanche.benchmarks.utils import (
    ConstantSequence,
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
)
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor
from torch.utils.data import Dataset

from supsup_bridge.continual.baselines.base import Progress
from supsup_bridge.training.augmentation import changed
from supsup_bridge.training.batches import Batches
from supsup_bridge.training.descent import decayed
from supsup_bridge.training.finite import check_loss
from supsup_bridge.training.settings import TrainingSettings


class TaskExperience(DatasetExperience):  # type: ignore[misc]
    """One task's images, as Avalanche's strategies read them.

    Args:
        images: (n, ...), in memory.
        labels: (n,), among the outputs of the network.
        number: of the task.
        task_label: of all images; the number where tasks are given, else 0.
        classes: the labels of each task up to this one.
        outputs: of the network.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        number: int,
        task_label: int,
        classes: Sequence[Sequence[int]],
        outputs: int,
    ) -> None:
        whole = TaskAwareSupervisedClassificationDataset(
            [_Pairs(images, labels)],
            data_attributes=[
                DataAttribute(labels.tolist(), "targets"),
                TaskLabels(ConstantSequence(task_label, len(labels))),
            ],
        )
        super().__init__(dataset=whole, current_experience=number)
        self._images, self._labels = images, labels
        self._of: dict[str, Any] = {"number": number, "task_label": task_label}
        self._of |= {"classes": classes, "outputs": outputs}
        self.origin_stream = EagerCLStream("train", [self], set_stream_info=False)
        self.task_labels = [task_label]
        self.classes_in_this_experience = [*classes[-1]]
        seen = [label for labels in classes for label in labels]
        left = [label for label in range(outputs) if label not in seen]
        self.benchmark = SimpleNamespace(  # what ICaRL reads of one
            n_classes_per_exp=[*map(len, classes), len(left)], classes_order=[*seen, *left]
        )

    def batches(self, settings: TrainingSettings, *, alone: bool) -> Iterator["TaskExperience"]:
        """The batches of a training, each an experience; orders are of torch's global generator."""
        for chosen in Batches(len(self._labels), settings, torch.default_generator, alone=alone):
            yield TaskExperience(self._images[chosen], self._labels[chosen], **self._of)

    def pixels(self) -> Callable[[Tensor], Tensor]:
        """What maps 0 ... 1 to the range of the images' pixels."""
        least, most = self._images.min(), self._images.max()
        return lambda shares: least + (most - least) * shares


class _Pairs(Dataset[tuple[Tensor, int]]):
    """Images with labels that are numbers, as Avalanche's own memories have them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], self._labels[index]


class LimitedBatches(SupervisedPlugin):  # type: ignore[misc]
    """Gives a task's training so many batches, whatever Avalanche's loader has in one pass.

    The loader starts anew, shuffled, whenever it ends. A single image that is left over at the end
    of a pass is left out, since it has no statistics. To be placed behind plugins that make a
    loader.

    Args:
        shares: of the steps that each of Avalanche's epochs takes.

    Attributes:
        steps: of the next task.
    """

    def __init__(self, shares: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.shares, self.steps = shares, 0

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        ends = [round(self.steps * sum(self.shares[: i + 1])) for i in range(len(self.shares))]
        counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        alone = strategy.train_mb_size == 1  # as the settings say
        strategy.dataloader = _Limited(strategy.dataloader, counts, alone=alone)


class _Limited:
    """Batches of a loader: so many in the first pass, so many in the next.

    Args:
        loader: starts anew whenever it ends.
        counts: of batches, of each pass.
        alone: whether an image may come alone.
    """

    def __init__(
        self, loader: Iterable[list[Tensor]], counts: Iterable[int], *, alone: bool
    ) -> None:
        self._loader, self._counts = loader, iter(counts)
        self._alone = alone or len(loader) == 1  # type: ignore[arg-type]
        self._batches = self._endless()

    def __iter__(self) -> Iterator[list[Tensor]]:
        for _ in range(next(self._counts)):
            yield next(self._batches)

    def _endless(self) -> Iterator[list[Tensor]]:
        while True:
            for batch in self._loader:
                if len(batch[0]) > 1 or self._alone:
                    yield batch


class Course(SupervisedPlugin):  # type: ignore[misc]
    """The rate of each step, as `Descent` has it; calls progress, and stops at NaN.

    Args:
        settings: of the training.
        decays: whether Adam's rate decays in the course of a task.
    """

    def __init__(self, settings: TrainingSettings, *, decays: bool) -> None:
        super().__init__()
        self._rate, self._done = settings.rate, 0
        self._decays = decays and settings.optimiser == "adam"
        self._progress: Progress = lambda step, loss: None

    def begin(self, progress: Progress) -> None:
        """Count the steps of a new task, and call progress after each."""
        self._done, self._progress = 0, progress

    def before_update(self, strategy: Any, **_: Any) -> None:
        check_loss(float(strategy.loss.detach()), step=self._done + 1, rate=self._rate)
        for group in strategy.optimizer.param_groups if self._decays else ():
            group["lr"] = decayed(self._rate, self._done)

    def after_update(self, strategy: Any, **_: Any) -> None:
        self._done += 1
        self._progress(self._done, float(strategy.loss.detach()))


class ChangedLoss(SupervisedPlugin):  # type: ignore[misc]
    """Cross-entropy with smoothed labels; images of a step are changed and mixed before it.

    As in `MaskLoss`, with mixup a image i is (1 − s) x_i + s x_{i−1}, s uniform in [0, a/2] and one
    for the batch, and its label counts as much. Images of different tasks are not mixed where tasks
    are given. Losses of other images, such as those of a memory that constrains a gradient, are of
    the images as they are.

    Args:
        settings: of the training.
        generator: of the changes and the shares.
    """

    def __init__(self, settings: TrainingSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.settings, self._generator = settings, generator
        self._share: Tensor | None = None  # of each image's neighbour in it

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.settings.smoothing
        if self._share is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        own, other = (
            F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
            for targets in (labels, labels.roll(1))
        )
        return torch.lerp(own, other, self._share).mean()

    def before_forward(self, strategy: Any, **_: Any) -> None:
        images, tasks = changed(strategy.mb_x, self.settings, self._generator), strategy.mb_task_id
        if self.settings.mixup:
            drawn = torch.rand((), generator=self._generator) * (self.settings.mixup / 2)
            self._share = float(drawn) * (tasks == tasks.roll(1)).to(images.dtype)
            share = self._share.reshape(-1, *(1,) * (images.ndim - 1))
            images = torch.lerp(images, images.roll(1, 0), share)
        strategy.mbatch[0] = images

    def before_backward(self, strategy: Any, **_: Any) -> None:
        self._share = None


class NoMetrics(SupervisedPlugin):  # type: ignore[misc]
    """In the place of an evaluator of Avalanche's: nothing is measured while a task is learned."""

    def get_last_metrics(self) -> dict[str, float]:
        return {}


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """The global generators of torch (CPU) and Python from a seed, and as they were afterwards.

    Example:
        >>> with drawn_from(3):
        ...     first = torch.rand(1), random.random()
        >>> with drawn_from(3):
        ...     (torch.rand(1), random.random()) == first
        True
    """
    before = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            yield
    finally:
        random.setstate(before)


def optimiser_for(
    settings: TrainingSettings,
) -> Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]:
    """What makes the optimiser of some weights: Adam, or SGD with momentum.

    Example:
        >>> make = optimiser_for(TrainingSettings(rate=0.1))
        >>> make([torch.nn.Parameter(torch.ones(1))]).defaults["lr"]
        0.1
    """
    if settings.optimiser == "sgd":
        return lambda weights: torch.optim.SGD(weights, lr=settings.rate, momentum=0.9)
    return lambda weights: torch.optim.Adam(weights, lr=settings.rate)
