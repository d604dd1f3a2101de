"""Tensors sent to a device without waiting for it."""

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on a device; from the CPU, the device's queue is not waited for.

    The other way there is a wait, since the numbers must have come before the CPU reads them.

    Args:
        values: of any shape, on any device.
        device: where they go.
        dtype: what they become; None for what they are.

    Example:
        >>> sent(torch.ones(2), torch.device("cpu"), torch.float64)
        tensor([1., 1.], dtype=torch.float64)
    """
    here = values.device.type == "cpu"
    return values.to(device, values.dtype if dtype is None else dtype, non_blocking=here)
