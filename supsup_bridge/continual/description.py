"""What the content address learns a task from: signatures of the task's images."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from supsup_bridge.inference.signatures import DESCRIBED, Signature
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings


def described(
    signature: Signature, data: LessonData, *, generator: torch.Generator, device: torch.device
) -> Tensor | Iterable[Tensor]:
    """Signatures of a task's images, for `hopmask.MaskMemory.store`.

    Of tensors these are at most `DESCRIBED`, evenly spread. Anything else is read once more, all of
    it, and its signatures come batch by batch, so that never all are held.

    Args:
        signature: of images (s, *shape).
        data: of the task.
        generator: of the order in which the data is read.
        device: where images go.
    """
    if not isinstance(data, TensorData):
        return _batchwise(signature, data, generator, device)
    count = len(data.images)
    chosen = torch.linspace(0, count - 1, min(count, DESCRIBED), device="cpu").long()
    return signature(data.images[chosen.to(data.images.device)].to(device))


def _batchwise(
    signature: Signature, data: LessonData, generator: torch.Generator, device: torch.device
) -> Iterator[Tensor]:
    for images, _ in data.batches(TrainingSettings(epochs=1), generator):
        yield signature(images.to(device))
