"""The lessons of several of a learner's tasks, in one computation."""

from collections.abc import Sequence
from functools import partial

from hopmask import ConfigError
from hopmask.errors import DuplicateError
from supsup_bridge.continual.checks import check_groups, check_statistics
from supsup_bridge.continual.learning import Learning
from supsup_bridge.continual.starts import Starts
from supsup_bridge.rng import stream
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.lessons import Lessons
from supsup_bridge.training.settings import is_count

_is_number = partial(is_count, least=0)
_ALONE = ("random", "shared", "ones")  # starts that need no other mask


def lessons_at_once(
    learner: Learning, data: Sequence[LessonData], *, tasks: Sequence[int]
) -> Lessons:
    """The training of several tasks' masks at once, not begun; the learner is not changed.

    Each mask is that of the task's own `learner.lesson`, up to the rounding of sums, and goes into
    the memory as that one does.

    Args:
        learner: whose network, settings and seed.
        data: of each task, in equal numbers of images.
        tasks: the number of each.

    Raises:
        ConfigError: data that cannot be learned or is of unequal size, a learner that is not given
            tasks, or one whose scores start from the masks of earlier tasks; numbers that are not
            one of each data.
        DuplicateError: a number that is taken.

    Example:
        >>> import torch
        >>> from supsup_bridge import SupSup, mlp
        >>> learner = SupSup(mlp([2, 8, 2]))
        >>> data = [TensorData(torch.eye(2), torch.tensor(labels)) for labels in ([0, 1], [1, 0])]
        >>> len(lessons_at_once(learner, data, tasks=[0, 1]).run())
        2
    """
    settings, network, inferences = learner.settings, learner.network, learner.inferences
    if learner.observer is not None:
        raise ConfigError("a task_free learner learns by observe(images, labels), not by lessons")
    if settings.mask_init not in _ALONE:
        raise ConfigError(
            "tasks that are trained at once cannot start from one another's masks, and mask_init "
            f"is '{settings.mask_init}': train one after the other, or choose one of "
            f"{', '.join(_ALONE)}"
        )
    if not all(map(_is_number, tasks)) or not len(tasks) == len({*tasks}) == len(data):
        raise ConfigError(
            f"tasks must be {len(data)} different numbers from 0 on, one of each data, got "
            f"{[*tasks]!r:.80}"
        )
    if taken := sorted({*tasks} & {*learner.tasks}):
        raise DuplicateError(f"the learner holds task {taken[0]} already: give another number")
    check_statistics(network, learner.kept)
    starts = Starts(settings, network, inferences)
    lessons = Lessons(
        network,
        data,
        settings.training,
        scores=[inferences.starts(number) for number in tasks],
        batches=[stream(settings.seed, "batches", number) for number in tasks],
        means=[
            starts.levels(number, one, memory=learner.memory, tasks=learner.tasks, image_shape=None)
            for number, one in zip(tasks, data, strict=True)
        ],
    )
    for one in data:
        if isinstance(one, TensorData):  # others are looked at batch by batch
            check_groups(one.labels, settings.signature_groups)
    return lessons
