"""Objectives of a network's outputs that need no label."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hopmask import ConfigError

Objective = Callable[[Tensor], Tensor]
OBJECTIVES = ("H", "G")


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


def superfluous(logits: Tensor, *, labels: int) -> Tensor:
    """G = log Σ_c exp y_c, with the gradient cut at the real outputs c < labels.

    Only the superfluous outputs move it: their share of the softmax is what descending on G lowers,
    and the right task's mask has learned to keep it low. The value itself compares no masks (it is
    highest where the real outputs are surest); its gradient does.

    Args:
        logits: (..., outputs).
        labels: how many outputs are real; the others are superfluous.

    Returns:
        (...).

    Raises:
        ConfigError: no superfluous outputs.

    Example:
        >>> import torch
        >>> y = torch.zeros(4, requires_grad=True)
        >>> superfluous(y, labels=2).backward()
        >>> y.grad
        tensor([0.0000, 0.0000, 0.2500, 0.2500])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.4.
    """
    if not 0 < labels < logits.shape[-1]:
        raise ConfigError(
            f"objective G needs superfluous outputs, but {logits.shape[-1]} outputs serve {labels} "
            "labels: give the network more outputs (--output-size), or use objective H"
        )
    real = torch.cat([logits[..., :labels].detach(), logits[..., labels:]], -1)
    return real.logsumexp(-1)


def entropy_and_logit(logits: Tensor, *, labels: int) -> Tensor:
    """H(y) − max_{c < labels} y_c: the entropy, less the largest logit of a real output.

    The entropy of two masks that are both sure of an image is about 0; their largest logits still
    differ, and the right task's is the larger one.

    Args:
        logits: (..., outputs).
        labels: how many outputs are real.

    Returns:
        (...), in nats.

    Example:
        >>> y = torch.tensor([[9.0, -9.0], [20.0, -20.0]])
        >>> entropy_and_logit(y, labels=2)
        tensor([ -9., -20.])

    Source:
        Entropy: Wortsman et al. 2020 (arXiv 2006.14769), section 3.3; the largest logit as a sign
        of known data: Hendrycks et al. 2022 (arXiv 1911.11132).
    """
    return entropy(logits) - logits[..., :labels].amax(-1)


def objective_named(name: str, *, labels: int, outputs: int) -> Objective:
    """ "H" (entropy) or "G" (superfluous outputs) as a function of logits alone.

    Raises:
        ConfigError: G without superfluous outputs, or an unknown name.

    Example:
        >>> objective_named("H", labels=2, outputs=2) is entropy
        True
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective must be one of {', '.join(OBJECTIVES)}, got {name!r}")
    if name == "H":
        return entropy
    chosen = partial(superfluous, labels=labels)
    chosen(
        torch.zeros(outputs, dtype=torch.float32, device="cpu")
    )  # refuses at once what it would refuse later
    return chosen
