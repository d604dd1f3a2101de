"""What the content address learns a task from: signatures of some of the task's images."""

import torch
from torch import Tensor

from supsup_bridge.inference.signatures import DESCRIBED, Signature
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings


def described(
    signature: Signature, data: LessonData, *, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Signatures (s, n) of at most `DESCRIBED` images: all that the memory is given of them.

    Of tensors these are evenly spread; anything else is read once more, batch by batch.

    Args:
        signature: of images (s, *shape).
        data: of the task.
        generator: of the order in which the data is read.
        device: where images go.
    """
    if isinstance(data, TensorData):
        count = len(data.images)
        chosen = torch.linspace(0, count - 1, min(count, DESCRIBED)).long()
        return signature(data.images[chosen.to(data.images.device)].to(device))
    parts, left = [], DESCRIBED
    for images, _ in data.batches(TrainingSettings(epochs=1), generator):
        parts.append(signature(images[:left].to(device)))
        left -= len(parts[-1])
        if left <= 0:
            break
    return torch.cat(parts)
