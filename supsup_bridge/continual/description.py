"""What is read of a task's images once its mask is final.

The content address learns the task from signatures of its images, and labels; the statistics of
batch norms are measured on some of its images.
"""

from collections.abc import Iterable, Iterator
from itertools import tee
from typing import NamedTuple

import torch
from torch import Tensor

from supsup_bridge.inference.signatures import DESCRIBED, Signature
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings

MEASURED = 4096  # images, at most, from which the statistics of batch norms are measured


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

    Of tensors these are at most `DESCRIBED` images, evenly spread. Anything else is read once more,
    all of it, and its signatures come batch by batch, so that never all are held.

    Args:
        signature: of images (s, *shape).
        data: of the task.
        grouped: whether labels go with the images, as their groups.
        generator: of the order in which the data is read.
        device: where images go.
    """
    if isinstance(data, TensorData):
        count = len(data.images)
        chosen = torch.linspace(0, count - 1, min(count, DESCRIBED), device="cpu").long()
        images = data.images[chosen.to(data.images.device)]
        labels = data.labels[chosen.to(data.labels.device)] if grouped else None
        return Described(signature(images.to(device)), labels)
    batches = iter(data.batches(TrainingSettings(epochs=1), generator))
    if not grouped:
        return Described((signature(images.to(device)) for images, _ in batches), None)
    ahead, behind = tee(batches)  # read side by side: one batch is held
    return Described(
        (signature(images.to(device)) for images, _ in ahead), (labels for _, labels in behind)
    )


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
