"""Torch's attention under many masks at once: by plain products, which have derivatives there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_lock = Lock()
_stack = ExitStack()
_users = 0


def attends(module: nn.Module) -> bool:
    """Whether a module has attention of torch's in it."""
    kinds = nn.MultiheadAttention | nn.TransformerEncoderLayer
    return any(isinstance(part, kinds) for part in module.modules())


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention computes by matrix products for as long as a block, of any thread, lasts.

    In evaluation mode torch has a fast path for it without derivatives, which it takes where `vmap`
    hides that a weight requires some; and `vmap` calls fused kernels once for each mask. Torch's
    switches are the process's: a thread that sets them meanwhile is not heeded.
    """
    global _users
    entered = False
    try:
        with _lock:
            if _users == 0:
                fast = torch.backends.mha.get_fastpath_enabled()
                _stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                _stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
                torch.backends.mha.set_fastpath_enabled(False)
            _users += 1
            entered = True
        yield
    finally:
        with _lock:
            _users -= entered
            if _users == 0:
                _stack.close()
