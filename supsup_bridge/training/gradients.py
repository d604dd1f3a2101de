"""The first half of a training step: losses, and the gradients of what is trained."""

import torch
from torch import Tensor

from supsup_bridge.networks.precision import in_precision
from supsup_bridge.training.descent import Descent
from supsup_bridge.training.loss import MaskLoss
from supsup_bridge.training.transfer import sent


def backward(
    loss: MaskLoss, descent: Descent, images: Tensor, labels: Tensor, *, device: torch.device
) -> Tensor:
    """The losses (T,), in the precision of the settings; the sum's gradients are in the tensors.

    Args:
        loss: of T tasks.
        descent: what is trained.
        images: (T, n, ...), from any device.
        labels: (T, n).
        device: where to compute.

    Raises:
        ConfigError: images that do not fit the network.
    """
    images, labels = sent(images, device), sent(labels, device, torch.int64)
    if loss.network.channels_last and len(images) == 1:  # stacks of tasks are laid out anew anyway
        maps = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        images = torch.unflatten(maps, 0, images.shape[:2])
    with in_precision(loss.settings.precision, device):
        losses = loss(descent.moved, images, labels, step=descent.done + 1)
    descent.clear()
    losses.sum().backward()  # type: ignore[no-untyped-call]
    return losses.detach()
