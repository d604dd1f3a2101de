"""Tasks of a run that its own process trains at once, and hands out one by one."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.continual.lessons import lessons_at_once
from supsup_bridge.continual.settings import OF_EARLIER
from supsup_bridge.data.task import Task
from supsup_bridge.networks.fixed import Masks, Size, shape_of
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.task_data import data_on
from supsup_bridge.stores.packed import pack, unpack
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.fit import Lesson
from supsup_bridge.training.lessons import Lessons, LessonsFailedError
from supsup_bridge.training.tasks_at_once import tasks_at_once, together


class TrainedTogether:
    """Trains a run's tasks in groups, and keeps the masks of a group until they are asked for.

    A group is a task and those that follow it, as long as they have as many images each. Where it
    is one task alone, its mask is that of `learner.lesson`, to the bit; else up to rounding.

    Args:
        learner: whose lessons are given; it is not changed.
        settings: of the run, complete.
        task: number of a task -> the task.

    Raises:
        ConfigError: tasks_at_once of a network that trains one task at a time.

    Example:
        >>> from supsup_bridge import split_digits
        >>> tasks = split_digits(tasks=2)
        >>> learner = SupSup("lenet-300-100", inputs=64, outputs=8)
        >>> together = TrainedTogether(learner, RunSettings(tasks=2), tasks.__getitem__)
        >>> together.state()["numbers"]
        [0, 0]
    """

    def __init__(self, learner: SupSup, settings: RunSettings, task: Callable[[int], Task]) -> None:
        training, most = learner.settings.training, settings.tasks_at_once
        if most not in (None, 1) and not together(learner.network, training):
            raise ConfigError(
                "convolutions and batch norms of many tasks at once are not for precision "
                f"{training.precision!r}, in which {settings.benchmark} is trained: leave out "
                "--tasks-at-once"
            )
        self._learner, self._settings, self._task = learner, settings, task
        self._packed: dict[int, dict[str, Tensor]] = {}  # masks of a group that are not kept yet
        self._failed: dict[int, str] = {}
        self._numbers = range(0)  # of the group in training
        self._lessons: Lesson | Lessons | None = None
        self._begun: Mapping[str, Any] | None = None  # what a checkpoint holds of such a group

    def masks(
        self,
        number: int,
        data: LessonData,
        *,
        steps: int,
        observer: Observer,
        pause: Callable[[], None],
    ) -> Masks:
        """The masks of a task, name -> bool (*size), until it is `kept`.

        Args:
            number: of the task.
            data: of the task.
            steps: of its training.
            observer: called after each step, of each task in training.
            pause: called where `state` can be taken.

        Raises:
            ConfigError: data that cannot be learned.
            LessonsFailedError: a loss or score of this task that is not finite.
        """
        if number not in self._packed and number not in self._failed:
            self._train(number, data, steps, observer, pause)
        if (why := self._failed.pop(number, None)) is not None:
            raise LessonsFailedError(f"{why}. The task was not learned", {number: why})
        sizes, packed = self._learner.network.mask_sizes, self._packed[number]
        return {name: _opened(packed[name], sizes[name]) for name in sizes}

    def kept(self, number: int) -> None:
        """Let go of the masks of a task: something else holds them."""
        self._packed.pop(number, None)

    def state(self) -> dict[str, Any]:
        """Where the group in training stands, and the masks that are not kept yet."""
        return {
            "numbers": [self._numbers.start, self._numbers.stop],
            "lessons": self._lessons.state() if self._lessons else None,
            "packed": self._packed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of another run of the same settings."""
        device = self._learner.network.device
        self._packed = {
            number: {name: value.to(device) for name, value in packed.items()}
            for number, packed in state["packed"].items()
        }
        self._begun = state if state["lessons"] is not None else None

    def _train(
        self,
        number: int,
        data: LessonData,
        steps: int,
        observer: Observer,
        pause: Callable[[], None],
    ) -> None:
        begun, self._begun = self._begun, None
        tasks, sources = self._group(number, data, end=begun["numbers"][1] if begun else None)
        self._numbers = numbers = range(number, number + len(tasks))
        self._lessons = lessons = (
            self._learner.lesson(data)
            if len(tasks) == 1
            else lessons_at_once(self._learner, sources, tasks=numbers)
        )
        if begun:
            lessons.restore(begun["lessons"])

        def progress(step: int, losses: Sequence[float]) -> None:
            for task, one, loss in zip(tasks, numbers, losses, strict=True):
                observer.training(task, one, step, steps, loss)

        if isinstance(lessons, Lesson):
            found = {number: lessons.run(lambda step, loss: progress(step, [loss]), pause=pause)}
        else:
            try:
                found = dict(zip(numbers, lessons.run(progress, pause=pause), strict=True))
            except LessonsFailedError as error:
                found = {numbers[place]: masks for place, masks in error.learned.items()}
                self._failed = {numbers[place]: why for place, why in error.failed.items()}
        self._packed |= {
            one: {name: pack(mask.flatten()) for name, mask in masks.items()}
            for one, masks in found.items()
        }
        self._lessons, self._numbers = None, range(0)

    def _group(
        self, number: int, data: LessonData, *, end: int | None
    ) -> tuple[list[Task], list[LessonData]]:
        """The tasks that are trained with a task, up to number `end` if it is known; their data."""
        learner, first = self._learner, self._task(number)
        tasks, sources = [first], [data]
        if end is None:
            end = min([number + self._at_once(data), self._settings.tasks or 0, *self._packed])
        for following in range(number + 1, end):
            try:
                task = self._task(following)
            except IndexError:  # the stream has ended, as its reader will find
                break
            if task.streamed is not None or len(task.train_labels) != len(first.train_labels):
                break
            source, _ = data_on(task, learner.network.device)
            if not _alike(source, data, outputs=learner.network.outputs):
                break
            tasks.append(task)
            sources.append(source)
        return tasks, sources

    def _at_once(self, data: LessonData) -> int:
        settings, network = self._learner.settings, self._learner.network
        if not isinstance(data, TensorData) or settings.mask_init in OF_EARLIER:
            return 1
        shape, images = tuple(data.images.shape[1:]), len(data.images)
        return self._settings.tasks_at_once or tasks_at_once(
            network, settings.training, shape, images, network.device
        )


def _alike(one: LessonData, other: LessonData, *, outputs: int) -> bool:
    """Whether a task can be learned, and together with another: else those before it still can."""
    try:
        one.check(outputs)
    except ConfigError:
        return False
    kinds = [(d.images.shape, d.images.dtype) for d in (one, other) if isinstance(d, TensorData)]
    return kinds[0] == kinds[1]


def _opened(packed: Tensor, size: Size) -> Tensor:
    shape = shape_of(size)
    return unpack(packed, prod(shape)).reshape(shape)
