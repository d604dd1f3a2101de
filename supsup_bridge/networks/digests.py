"""SHA-256 digests: of a fixed network, and of binary masks."""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from supsup_bridge.networks.fixed import FixedNetwork


def fingerprint(network: FixedNetwork) -> str:
    """SHA-256 over the names, shapes and values of a network's tensors, and over its mask sizes.

    Two networks with one fingerprint give the same logits under the same masks. The tensors are
    the weights, all other parameters and buffers that a call reads, and the map of hashed masks.
    Sizes of statistics count where there are any: by them, a batch norm in training mode differs
    from one that keeps the module's statistics.

    Args:
        network: the fixed network.

    Returns:
        Hex.

    Example:
        >>> import torch
        >>> from supsup_bridge import UnitNetwork
        >>> a, b = (
        ...     UnitNetwork([4, 8, 3], network=torch.Generator().manual_seed(s)) for s in (0, 1)
        ... )
        >>> fingerprint(a) == fingerprint(a), fingerprint(a) == fingerprint(b)
        (True, False)
    """
    digest = hashlib.sha256()
    for name, size in sorted(network.mask_sizes.items()):
        digest.update(f"{name}\0{size}\0".encode())
    for name, size in sorted(network.statistics_sizes.items()):
        digest.update(f"statistic\0{name}\0{size}\0".encode())
    for name, value in sorted(network.identity.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def mask_digest(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 of binary masks, by which a recalled mask is compared with the learned one.

    Example:
        >>> import torch
        >>> a = {"bits": torch.tensor([True, False])}
        >>> mask_digest(a) == mask_digest({"bits": torch.tensor([1.0, 0.0])})
        True
    """
    digest = hashlib.sha256()
    for name in sorted(masks):
        digest.update(name.encode() + b"\0")
        digest.update((masks[name] > 0.5).cpu().numpy().tobytes())
    return digest.hexdigest()
