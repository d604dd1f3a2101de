"""Checks of arguments that many doors share."""

from operator import index
from typing import TypeGuard

import torch
from torch import Tensor

from hopmask.errors import ConfigError


def is_whole(value: object, *, least: int = 1) -> bool:
    """Whether a value is an integer (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_whole(value: object, what: str, *, least: int = 1) -> None:
    """Raise ConfigError unless a value is an integer (no bool) of at least `least`."""
    if not is_whole(value, least=least):
        raise ConfigError(f"{what} must be a whole number of at least {least}, got {value!r:.40}")


def index_or_none(value: object) -> int | None:
    """A value as an index, also of numpy's and torch's integers; None for what is none."""
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None


def is_real(value: object) -> bool:
    """Whether a value is a real number (no bool); NaN is."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor whose entries lie in memory: not sparse, nested or on "meta"."""
    if not isinstance(value, Tensor) or value.is_nested:
        return False
    return value.layout == torch.strided and value.device.type != "meta"


def kind_of(value: object) -> str:
    """What kind of thing a value is, for an error."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if is_tensor(value):
        return f"a tensor of {value.dtype}"
    if value.device.type == "meta":
        return "a tensor on 'meta', which has no values"
    return "a nested tensor" if value.is_nested else f"a {value.layout} tensor"
