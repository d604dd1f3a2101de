"""Calls: a module that is called with other tensors in the place of its own, and keeps its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from threading import RLock
from typing import Any

from torch import nn


class Calls:
    """Lets one thread at a time call a module with `torch.func.functional_call`.

    During such a call other tensors stand in the module, for every thread: whoever reads its own
    has to wait as well. torch puts them back, unless KeyboardInterrupt comes while they are
    exchanged; this does so then, too.

    Args:
        module: that is called.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> calls = Calls(layer)
        >>> with calls.one():
        ...     torch.func.functional_call(layer, {"weight": torch.eye(2)}, torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    def __init__(self, module: nn.Module) -> None:
        self._module, self._lock = module, RLock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """A block of one call, or of reading."""
        with self._lock:
            own = [
                (part, name, tensor)
                for part in self._module.modules()
                for named in (part.named_parameters, part.named_buffers)
                for name, tensor in named(recurse=False, remove_duplicate=False)
            ]
            try:
                yield
            except BaseException:
                for part, name, tensor in own:
                    setattr(part, name, tensor)
                raise

    def __deepcopy__(self, memo: dict[int, Any]) -> "Calls":
        return Calls(deepcopy(self._module, memo))

    def __reduce__(self) -> tuple[type["Calls"], tuple[nn.Module]]:
        return Calls, (self._module,)
