"""Calls that mean the same inside of `torch.inference_mode` and `torch.no_grad` as outside."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def outside_inference(function: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """A function that runs with gradients and without inference mode, whatever surrounds the call.

    Recall follows a gradient, and a tensor that was made in inference mode takes part in none: so
    such tensors among the arguments, also in lists and tuples, are copied.

    Example:
        >>> slope = outside_inference(lambda x: torch.func.grad(torch.square)(x))
        >>> with torch.inference_mode():
        ...     slope(torch.tensor(3.0))
        tensor(6.)
    """

    @wraps(function)
    def wrapped(*args: _Arguments.args, **options: _Arguments.kwargs) -> _Answer:
        with torch.inference_mode(False), torch.enable_grad():
            given = {name: ordinary(value) for name, value in options.items()}
            return function(*map(ordinary, args), **given)

    return wrapped


def ordinary(value: Any) -> Any:
    """The same, with tensors that were made in inference mode copied, also in lists and tuples."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if type(value) in (tuple, list):
        made = [ordinary(one) for one in value]
        changed = any(one is not own for one, own in zip(made, value, strict=True))
        return type(value)(made) if changed else value  # a caller's list stays the caller's
    return value
