"""A task's training images as a learner reads them."""

import torch

from supsup_bridge.data.task import Task
from supsup_bridge.training.data import LessonData, StreamedData, TensorData, lesson_data


def data_on(task: Task, device: torch.device) -> tuple[LessonData, tuple[int, ...]]:
    """The training data of a task, on a device or read batch by batch; and their shape.

    Example:
        >>> from supsup_bridge import split_digits
        >>> data_on(split_digits(tasks=1)[0], torch.device("cpu"))[1]
        (64,)
    """
    data = lesson_data(task)
    if isinstance(data, StreamedData):
        return data, data.stream.shape
    assert isinstance(data, TensorData)
    data = TensorData(data.images.to(device), data.labels.to(device))
    return data, tuple(data.images.shape[1:])
