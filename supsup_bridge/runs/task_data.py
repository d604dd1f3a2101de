"""A task's training images as a learner reads them."""

from supsup_bridge.continual.learner import SupSup
from supsup_bridge.data.task import Task
from supsup_bridge.training.data import LessonData, StreamedData, TensorData


def data_of(task: Task, learner: SupSup) -> tuple[LessonData, tuple[int, ...]]:
    """The training data of a task, on a learner's device or read batch by batch; and their shape.

    Example:
        >>> from supsup_bridge import split_digits
        >>> learner = SupSup("lenet-300-100", inputs=64, outputs=8)
        >>> data_of(split_digits(tasks=1)[0], learner)[1]
        (64,)
    """
    if task.streamed is not None:
        return StreamedData(task.streamed), task.streamed.shape
    device = learner.network.device
    data = TensorData(task.train_images.to(device), task.train_labels.to(device))
    return data, tuple(data.images.shape[1:])
