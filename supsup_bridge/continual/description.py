"""What is read of a task's images once its mask is final.

The content address learns the task from signatures of its images, and labels; the statistics of
batch norms are measured on some of its images.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Subset

from supsup_bridge.inference.signatures import DESCRIBED, Signature
from supsup_bridge.training.batches import Batch
from supsup_bridge.training.data import DatasetData, LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings

MEASURED = 4096  # images, at most, from which the statistics of batch norms are measured
_PART = 1 << 23  # numbers of signatures that are held at once


class Described(NamedTuple):
    """Signatures of a task's images, and their labels, for `hopmask.MaskMemory.store`."""

    signature: Tensor | Iterable[Tensor]
    groups: Tensor | Iterable[Tensor] | None = None


def described(
    signature: Signature,
    data: LessonData,
    *,
    grouped: bool,
    generator: torch.Generator,
    device: torch.device,
) -> Described:
    """What the content address is given of a task.

    Of tensors and data sets these are at most `DESCRIBED` images, evenly spread. Anything else is
    read once more, all of it. What is read batch by batch comes in parts of several batches, since
    putting parts together takes as long as a part of as many images as there are random features.

    Args:
        signature: of images (s, *shape).
        data: of the task.
        grouped: whether labels go with the images, as their groups.
        generator: of the order in which the data is read.
        device: where images go.
    """
    if isinstance(data, TensorData):
        chosen = _spread(len(data.images))
        images = data.images[chosen.to(data.images.device)]
        labels = data.labels[chosen.to(data.labels.device)] if grouped else None
        return Described(signature(images.to(device)), labels)
    if isinstance(data, DatasetData):
        chosen = _spread(len(data.dataset))  # type: ignore[arg-type]
        data = DatasetData(Subset(data.dataset, chosen.tolist()))
    batches = data.batches(TrainingSettings(epochs=1), generator)
    labels_of_parts = deque[Tensor]()
    parts = _parts(batches, lambda images: signature(images.to(device)), labels_of_parts.append)
    return Described(parts, _taken(labels_of_parts) if grouped else None)


def _spread(count: int) -> Tensor:
    """Indices of at most `DESCRIBED` of so many images."""
    return torch.linspace(0, count - 1, min(count, DESCRIBED), device="cpu").long()


def _parts(
    batches: Iterable[Batch], signature: Signature, seen: Callable[[Tensor], None]
) -> Iterator[Tensor]:
    """Signatures of several batches at a time, whose labels are `seen` before."""
    held, numbers = list[Tensor](), 0
    for images, labels in batches:
        seen(labels)
        held.append(signature(images))
        numbers += held[-1].numel()
        if numbers >= _PART:
            yield torch.cat(held)
            held, numbers = [], 0
    if held:
        yield torch.cat(held)


def _taken(labels: deque[Tensor]) -> Iterator[Tensor]:
    while labels:
        yield labels.popleft()


def some_images(
    data: LessonData, *, generator: torch.Generator, device: torch.device
) -> Iterator[Tensor]:
    """Batches of `MEASURED` images of a task, or of all where there are fewer; not augmented.

    An image that would come alone after a batch goes with it: alone it has no statistics.

    Args:
        data: of the task.
        generator: of the order in which the data is read.
        device: where images go.
    """
    left, held = MEASURED, None
    for images, _ in data.batches(TrainingSettings(epochs=1), generator):
        images, left = images[:left].to(device), left - len(images)
        if held is not None and len(images) == 1 < len(held):
            held = torch.cat([held, images])
        else:
            if held is not None:
                yield held
            held = images
        if left <= 0:
            break
    if held is not None:
        yield held
