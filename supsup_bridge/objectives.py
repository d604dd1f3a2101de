"""Objectives of a network's outputs that need no label."""

import torch.nn.functional as F
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax, H = −Σ_c p_c log p_c, in nats.

    Args:
        logits: (..., outputs).

    Returns:
        (...), between 0 and log(outputs).

    Example:
        >>> import torch
        >>> entropy(torch.zeros(2, 4)).allclose(torch.tensor(4.0).log())
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.3.
    """
    log_p = F.log_softmax(logits, -1)
    return -(log_p.exp() * log_p).sum(-1)
