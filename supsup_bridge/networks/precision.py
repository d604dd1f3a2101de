"""Autocast: switched on for training in less precision, off around what must not depend on it."""

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("float32", "bfloat16")


def in_precision(name: str, device: torch.device) -> AbstractContextManager[None]:
    """A context in which layers compute in a precision of `PRECISIONS`; "float32" changes nothing.

    Example:
        >>> with in_precision("bfloat16", torch.device("cpu")):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.bfloat16
    """
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """A context in which `torch.autocast` of a device changes nothing.

    Example:
        >>> with torch.autocast("cpu"), without_autocast(torch.device("cpu")):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    kind = device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
