"""Full precision: what a memory computes never depends on autocast or inference mode around it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

import torch

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class _OnDevice(Protocol):
    @property
    def device(self) -> torch.device: ...


_Self = TypeVar("_Self", bound=_OnDevice)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast off, on the CPU and on a device, for as long as the block lasts.

    Inference mode is off as well: tensors that are made in it cannot be changed outside of it.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def in_full_precision(
    method: Callable[Concatenate[_Self, _Arguments], _Answer],
) -> Callable[Concatenate[_Self, _Arguments], _Answer]:
    """A method that runs in full precision, whatever autocast surrounds the call.

    A penalty that the method calls runs in full precision too, so that an answer is the same with
    and without autocast.
    """

    @wraps(method)
    def wrapped(self: _Self, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Answer:
        with full_precision(self.device):
            return method(self, *args, **options)

    return cast(Callable[Concatenate[_Self, _Arguments], _Answer], wrapped)
