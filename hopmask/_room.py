"""Room for large tensors: looked for before anything is allocated, and said in numbers."""

from pathlib import Path

import torch
from torch import Tensor

from hopmask.errors import ConfigError

_MEMINFO = Path("/proc/meminfo")


def available(device: str | torch.device) -> int | None:
    """Bytes that a device has free; None where it does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        try:
            lines = _MEMINFO.read_text().splitlines()
            free = next(line for line in lines if line.startswith("MemAvailable:"))
            return 1024 * int(free.split()[1])
        except (OSError, StopIteration, ValueError):
            return None
    return None


def check_room(nbytes: int, device: str | torch.device, what: str) -> None:
    """Raise ConfigError where a device lacks so many bytes, or there is no such device."""
    try:
        free = available(device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch without CUDA asserts
        raise ConfigError(f"no device {device!r} for {what}: {error}") from error
    if free is not None and nbytes > free:
        raise ConfigError(
            f"{what} take {nbytes / 1e9:.2f} GB, and '{device}' has {free / 1e9:.2f} GB free. "
            "Nothing was allocated or changed: use fewer hubs or spins, or a smaller network"
        )


def check_room_to_move(
    nbytes: int, here: torch.device, device: str | torch.device, what: str
) -> None:
    """Raise ConfigError as `check_room` does, unless so many bytes are on that device already."""
    there = torch.device(device)
    another = None not in (there.index, here.index) and there != here
    if there.type != here.type or another:
        check_room(nbytes, there, what)


def zeros(*shape: int, dtype: torch.dtype, device: str | torch.device) -> Tensor:
    """Zeros of a shape; ConfigError where they cannot be made."""
    try:
        return torch.zeros(*shape, dtype=dtype, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"no room or device for {shape} on '{device}': {error}") from error
