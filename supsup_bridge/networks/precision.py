"""Autocast: switched on for training in less precision, off around what must not depend on it.

A processor without instructions for bfloat16 computes in it many times slower than in float32;
"auto" is float32 there.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("float32", "bfloat16", "auto")


def precision_on(name: str, device: torch.device) -> str:
    """What a precision of `PRECISIONS` is on a device: "float32" or "bfloat16".

    "auto" is bfloat16 on a GPU or CPU that has instructions for it, as far as torch says so (of
    CPUs a recent one does), and float32 on others.

    Args:
        name: one of `PRECISIONS`.
        device: where layers compute.

    Example:
        >>> precision_on("auto", torch.device("cpu")) in ("float32", "bfloat16")
        True
        >>> precision_on("bfloat16", torch.device("cpu"))
        'bfloat16'
    """
    if name != "auto":
        return name
    return "bfloat16" if _computes_in_bfloat16(device) else "float32"


def in_precision(name: str, device: torch.device) -> AbstractContextManager[None]:
    """A context in which layers compute in a precision of `PRECISIONS`; "float32" changes nothing.

    Example:
        >>> with in_precision("bfloat16", torch.device("cpu")):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.bfloat16
    """
    rough = precision_on(name, device) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16) if rough else nullcontext()


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


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch
    return any("bf16" in name and bool(has) for name, has in capabilities.items())
