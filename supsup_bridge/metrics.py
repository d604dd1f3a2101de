"""Figures of a run, from the accuracy matrix and the recalls."""

import hashlib
from collections.abc import Mapping

from torch import Tensor


def average_accuracy(matrix: list[list[float | None]]) -> float:
    """Mean accuracy over the tasks learned so far: A = (1/k) Σ_j R_kj, the matrix's last row.

    Args:
        matrix: R, row i after learning task i, column j for task j; None where j > i.

    Example:
        >>> average_accuracy([[1.0, None], [0.5, 1.0]])
        0.75

    Source:
        Lopez-Paz, Ranzato 2017 (arXiv 1706.08840), "average accuracy".
    """
    row = [value for value in matrix[-1] if value is not None]
    return sum(row) / len(row)


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


def packed_bytes(mask_sizes: Mapping[str, int], tasks: int) -> int:
    """Bytes of a plain list of the masks, one bit a mask bit, each mask padded to whole bytes.

    Example:
        >>> packed_bytes({"bits": 12}, tasks=3)
        6
    """
    return tasks * -(-sum(mask_sizes.values()) // 8)
