"""Lessons of several tasks at once: their masks, trained in one computation."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from hopmask import ConfigError, NumericalError
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.batches import Place
from supsup_bridge.training.data import LessonData, lesson_data
from supsup_bridge.training.drawing import drawn
from supsup_bridge.training.finite import spoiled
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.stack_trainer import StackTrainer
from supsup_bridge.training.tasks_at_once import together

_READ = 50  # steps whose losses are read at once, where reading waits for the device

Means = Sequence[Mapping[str, Tensor] | None]


class LessonsFailedError(NumericalError):
    """Some of the tasks that were trained at once were not learned.

    Args:
        message: what went wrong, and what to do.
        failed: number of each of them, in the order of the data -> the reason.
        learned: number of each other -> its masks; empty where training ended early, as all failed.

    Attributes:
        failed, learned: as above.

    Example:
        >>> error = LessonsFailedError("one failed", {1: "the loss became nan"}, {0: {}})
        >>> sorted(error.failed), sorted(error.learned)
        ([1], [0])
    """

    def __init__(
        self,
        message: str,
        failed: Mapping[int, str] = MappingProxyType({}),
        learned: Mapping[int, Masks] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.failed, self.learned = dict(failed), dict(learned)


class Lessons:
    """The training of T tasks' masks at once; `state` between two steps continues it elsewhere.

    Each task gives the mask that its `Lesson` gives, from the same generators, up to the rounding
    of matrix products; alone, to the bit.

    Args:
        network: the fixed network.
        data: labelled images of each task, in equal numbers and of one shape.
        settings: how.
        scores: generators of the starting scores, one a task.
        batches: generators of the order of images, their changes, the noise and the mixing.
        means: levels of masks to start from, one of each task; None for random starts.

    Attributes:
        batches: of each task.

    Raises:
        ConfigError: no data, data that cannot be learned or is unequal, or generators that are not
            one a task; or a precision other than float32 for several tasks of a network with
            convolutions or batch norms.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = [torch.Generator().manual_seed(seed) for seed in range(3)]
        >>> network = UnitNetwork([2, 16, 2], network=g[2])
        >>> data = [lesson_data((torch.eye(2), torch.tensor(label))) for label in ([0, 1], [1, 0])]
        >>> lessons = Lessons(network, data, TrainingSettings(), scores=g[:2], batches=g[:2])
        >>> len(lessons.run())
        2
    """

    def __init__(
        self,
        network: FixedNetwork,
        data: Sequence[LessonData],
        settings: TrainingSettings,
        *,
        scores: Sequence[torch.Generator],
        batches: Sequence[torch.Generator],
        means: Means | None = None,
    ) -> None:
        if not data:
            raise ConfigError("there are no tasks to train: give the data of at least one")
        _check_number("scores", scores, len(data))
        _check_number("batches", batches, len(data))
        if len(data) > 1 and not together(network, settings):
            raise ConfigError(
                f"precision {settings.precision!r} is not for convolutions and batch norms of many "
                "tasks at once: train one by one, or with precision='float32'"
            )
        if means is not None and len(means) != len(data):
            raise ConfigError(f"means must be one a task, {len(data)}, got {len(means)}")
        self._drawn = drawn(network, data, settings, batches)
        self.trainer = StackTrainer(network, settings, scores=scores, noise=batches, means=means)
        self._unread: list[Tensor] = []  # losses of the last steps
        self._failed: dict[int, str] = {}
        self._progress: Callable[[int, list[float]], None] = lambda step, losses: None

    @property
    def batches(self) -> Sequence[Place]:
        return self._drawn.batches

    def run(
        self,
        progress: Callable[[int, list[float]], None] = lambda step, losses: None,
        *,
        pause: Callable[[], None] = lambda: None,
        seen: Callable[[Tensor, Tensor], None] = lambda images, labels: None,
    ) -> list[Masks]:
        """Take all steps that are left.

        A loss that is not finite ends the lesson of its task alone; the others go on, and the error
        comes at the end. Where all have failed it comes at once.

        Args:
            progress: called with the number of steps done and the losses, one a task: after each
                step on the CPU; elsewhere in bunches, since reading a loss waits for the device.
            pause: called after each step, when `state` can be taken.
            seen: called after each step, before `progress`, with its images (T, n, ...) and labels
                (T, n).

        Returns:
            The masks of each task, name -> bool (*size).

        Raises:
            ConfigError: images or labels of a batch that do not fit the network, or batches that
                are unequal.
            LessonsFailedError: losses or scores that are not finite; it has the other masks.
        """
        self._progress = progress
        bunch = 1 if self.trainer.device.type == "cpu" else _READ
        for images, labels in self._drawn:
            self._unread.append(self.trainer.step(images, labels))
            seen(images, labels)
            if len(self._unread) >= bunch:
                self._read()
            pause()
        self._read()
        for task, name in self.trainer.spoiled().items():
            self._failed.setdefault(
                task, f"scores of mask '{name}' hold NaN: lower the learning rate"
            )
        masks = self.trainer.masks()
        if self._failed:
            raise self._error({task: m for task, m in enumerate(masks) if task not in self._failed})
        return masks

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for the data."""
        self._read()
        return {
            "batches": [batches.state() for batches in self.batches],
            "trainer": self.trainer.state(),
            "failed": self._failed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of lessons that were made alike."""
        self.trainer.restore(state["trainer"])
        for batches, kept in zip(self.batches, state["batches"], strict=True):
            batches.restore(kept)
        self._failed = dict(state["failed"])

    def _read(self) -> None:
        """Look at the losses of the steps since the last look, and tell them."""
        if not self._unread:
            return
        first = self.trainer.done - len(self._unread) + 1
        rows, self._unread = torch.stack(self._unread).tolist(), []
        rate = self.trainer.settings.rate
        for step, losses in enumerate(rows, first):
            for task, loss in enumerate(losses):
                if fault := spoiled(loss, step=step, rate=rate):
                    self._failed.setdefault(task, fault)
            if len(self._failed) == len(losses):
                raise self._error({})
            self._progress(step, losses)

    def _error(self, learned: Mapping[int, Masks]) -> LessonsFailedError:
        failed, tasks = self._failed, len(self.batches)
        if tasks == 1:
            message = f"{failed[0]}. The task was not learned"
        else:
            reasons = "; ".join(f"data {number}: {why}" for number, why in failed.items())
            message = (
                f"{len(failed)} of {tasks} tasks were not learned: {reasons}. The masks of the "
                "others are in `learned` of this error"
            )
        return LessonsFailedError(message, failed, learned)


def train_masks(
    network: FixedNetwork,
    data: Sequence[Any],
    settings: TrainingSettings,
    *,
    generators: Sequence[torch.Generator],
    means: Means | None = None,
    progress: Callable[[int, list[float]], None] = lambda step, losses: None,
) -> list[Masks]:
    """Learn the binary masks of T tasks in one computation; see `Lessons`.

    min over s_1 ... s_T of Σ_t L(f(x_t, W ⊙ m(s_t)), y_t), with L as in `MaskLoss`; its terms share
    nothing, so that each mask is that of `train_mask` up to the rounding of matrix products.

    It pays where one small task leaves a device idle: on a GPU, and on a CPU of several threads.
    `tasks_at_once` says how many.

    Args:
        network: the fixed network.
        data: of each task: (images (n, ...), labels (n,)), a Dataset with a length, or a
            DataLoader; equally many images of one shape.
        settings: how.
        generators: one a task, of all that its lesson draws.
        means: levels of masks to start from, one of each task; None for random starts.
        progress: as in `Lessons.run`.

    Returns:
        The masks of each task, name -> bool (*size).

    Raises:
        ConfigError: no data, images or labels that do not fit the network, tasks of unequal numbers
            of images or batches, or generators that are not one a task.
        LessonsFailedError: a loss or score that is not finite; the error names the tasks, and has
            the masks of the others.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = [torch.Generator().manual_seed(seed) for seed in range(3)]
        >>> network = UnitNetwork([2, 16, 2], network=g[2])
        >>> data = [(torch.eye(2), torch.tensor(labels)) for labels in ([0, 1], [1, 0])]
        >>> first, second = train_masks(network, data, TrainingSettings(), generators=g[:2])
        >>> first["hidden1"].dtype
        torch.bool

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3: masks of tasks are independent.
    """
    lessons = Lessons(
        network,
        [lesson_data(one) for one in data],
        settings,
        scores=generators,
        batches=generators,
        means=means,
    )
    return lessons.run(progress)


def _check_number(name: str, generators: Sequence[torch.Generator], tasks: int) -> None:
    if len(generators) != tasks or len({id(generator) for generator in generators}) != tasks:
        raise ConfigError(
            f"{name} must be {tasks} generators, one of its own for each task, got "
            f"{len(generators)}, {len({id(g) for g in generators})} of them different: make each "
            "from a seed of its own"
        )
