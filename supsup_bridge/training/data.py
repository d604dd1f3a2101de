"""What a lesson learns from: tensors, a data set read by index, a loader, or a stream."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from hopmask import ConfigError
from supsup_bridge.data.task import Streamed, Task
from supsup_bridge.training.augmentation import augmented
from supsup_bridge.training.batches import (
    Batch,
    Batches,
    IndexedBatches,
    LessonBatches,
    LoadedBatches,
    as_pair,
    check_labels,
)
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.transfer import sent


class LessonData(Protocol):
    """Labelled images of one task."""

    def check(self, outputs: int) -> None:
        """Raise ConfigError where the data cannot be learned, as far as it is known beforehand."""
        ...

    def batches(
        self, settings: TrainingSettings, generator: torch.Generator, *, alone: bool = True
    ) -> LessonBatches:
        """The batches of one lesson; the generator decides the order, and any augmentation.

        Where no image may come `alone`, one that is left over after the last whole batch goes with
        it; a loader and a stream, which decide their batches themselves, do as they do.

        They are augmented if the settings say so: whoever wants the images themselves passes other
        settings.
        """
        ...


class TensorData:
    """Images and labels in memory.

    Args:
        images: (n, ...), standardised.
        labels: class within the task, integer (n,).

    Example:
        >>> data = TensorData(torch.eye(3), torch.tensor([0, 1, 0]))
        >>> data.batches(TrainingSettings(epochs=2), torch.Generator()).steps
        2
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def check(self, outputs: int) -> None:
        check_labels(self.images, self.labels, outputs)

    def batches(
        self, settings: TrainingSettings, generator: torch.Generator, *, alone: bool = True
    ) -> LessonBatches:
        batches = IndexedBatches(
            Batches(len(self.images), settings, generator, alone=alone), self._read
        )
        return augmented(batches, settings, generator)

    def _read(self, chosen: Tensor) -> Batch:
        images = self.images[sent(chosen, self.images.device)]
        return images, self.labels[sent(chosen, self.labels.device)]


class DatasetData:
    """A data set read by index, one batch in memory at a time.

    A lesson gets the same batches as from `TensorData` of the same images. Random numbers that the
    data set draws by itself are its own matter; give a `LoaderData` to have them seeded.

    Args:
        dataset: has a length, and dataset[i] is an image and its label.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = DatasetData(TensorDataset(torch.eye(3), torch.tensor([0, 1, 0])))
        >>> images, labels = next(iter(data.batches(TrainingSettings(), torch.Generator())))
        >>> images.shape
        torch.Size([3, 3])
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def check(self, outputs: int) -> None:
        if len(self.dataset) == 0:  # type: ignore[arg-type]
            raise ConfigError("training needs images, but the data set is empty")

    def batches(
        self, settings: TrainingSettings, generator: torch.Generator, *, alone: bool = True
    ) -> LessonBatches:
        count = len(self.dataset)  # type: ignore[arg-type]
        batches = IndexedBatches(Batches(count, settings, generator, alone=alone), self._read)
        return augmented(batches, settings, generator)

    def _read(self, chosen: Tensor) -> Batch:
        with torch.no_grad():  # code of a user's may compute images
            return as_pair(default_collate([self.dataset[i] for i in chosen.tolist()]))


class LoaderData:
    """Batches of a DataLoader, or of anything that gives (images, labels) each time it is iterated.

    The loader alone decides the size and the order of its batches, and it is iterated once per
    epoch; see `LoadedBatches` for its random numbers.

    Args:
        loader: the loader. With a length, a lesson knows how many steps it takes.

    Example:
        >>> batch = torch.eye(2), torch.tensor([0, 1])
        >>> LoaderData([batch, batch]).batches(TrainingSettings(epochs=3), torch.Generator()).steps
        6
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader

    def check(self, outputs: int) -> None:
        """Nothing is known before the loader is iterated."""

    def batches(
        self, settings: TrainingSettings, generator: torch.Generator, *, alone: bool = True
    ) -> LessonBatches:
        return augmented(LoadedBatches(self.loader, settings, generator), settings, generator)


class StreamedData:
    """Images of a task that are read batch by batch, in an order drawn anew every epoch.

    Args:
        stream: of the task; it crops and mirrors by itself.
    """

    def __init__(self, stream: Streamed) -> None:
        self.stream = stream

    def check(self, outputs: int) -> None:
        """Nothing is known before the images are read."""

    def batches(
        self, settings: TrainingSettings, generator: torch.Generator, *, alone: bool = True
    ) -> LessonBatches:
        augment = settings.augment is not None
        passes = self.stream.batches(settings.batch, augment=augment, alone=alone)
        return augmented(
            LoadedBatches(passes, settings, generator), settings, generator, cropped=True
        )


def lesson_data(data: Any) -> LessonData:
    """What a user gives, as a lesson's data.

    Args:
        data: (images, labels), a Dataset with a length, a DataLoader, a `Task`, or a lesson's data
            already.

    Raises:
        ConfigError: something else.

    Example:
        >>> type(lesson_data((torch.eye(2), torch.tensor([0, 1])))).__name__
        'TensorData'
    """
    if isinstance(data, TensorData | DatasetData | LoaderData | StreamedData):
        return data
    if isinstance(data, Task):
        if data.streamed is not None:
            return StreamedData(data.streamed)
        return TensorData(data.train_images, data.train_labels)
    if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor):
        return TensorData(*data)
    if isinstance(data, DataLoader):
        return LoaderData(data)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return DatasetData(data)
    if isinstance(data, tuple) and len(data) == 2:
        kinds = " and ".join(type(value).__name__ for value in data)
        raise ConfigError(
            f"images and labels must be tensors, got {kinds}: use torch.as_tensor, and float32 "
            "for images"
        )
    raise ConfigError(
        "a task's data must be (images, labels), a Dataset with a length, a DataLoader, or a Task, "
        f"got {type(data).__name__}: put anything else into a DataLoader"
    )
