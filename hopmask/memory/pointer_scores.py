"""Scores of all tasks by a pointer: a vector of mask neurons, from data or from a damaged mask."""

from math import log, sqrt

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hopmask.couplings.hub import HubCouplings

_ALIKE = 1e-6  # of a pointer's length: what separates tasks less is rounding
_PRIOR = 2.0  # tasks' worth of the assumption that scores vary by 1
_ROUNDED = 0.02  # of agreement, which rounding a pointer to two digits may add in the mean
_TOGETHER = 8  # pointers that are measured at once, in the cache


def pointer_scores(couplings: HubCouplings, pointer: Tensor, mean: Tensor) -> Tensor:
    """softplus(s_t − √(2 ln k)), with s_t as in `hub_recall`, of all tasks.

    Neurons that all tasks have alike tell none from another, and are left out.

    Args:
        couplings: of the k tasks.
        pointer: b, (rows, bits), of the first mask neurons.
        mean: μ of those neurons, (bits,).

    Returns:
        float64 (rows, K), by task number; what stands for dead tasks has no meaning.

    Raises:
        NumericalError: the pointer holds NaN or infinity.

    Example:
        >>> couplings = HubCouplings(64, hubs=4, seed=0)
        >>> masks = torch.rand(3, 64, generator=torch.Generator().manual_seed(0)) < 0.5
        >>> for task, mask in enumerate(masks):
        ...     couplings.put(task, mask)
        >>> pointer = masks[1:2].float() * 2 - 1
        >>> int(pointer_scores(couplings, pointer, couplings.mask_mean)[0, :3].argmax())
        1

    Source:
        hopmask's own; scores above chance, see `hopmask.memory.hub_recall`.
    """
    live, count = couplings.live, couplings.count
    variance = 1 - mean.square()
    if bool((variance == 0).any()):
        pointer = pointer * (variance > 0)
    parts = torch.split(pointer, _TOGETHER)
    lengths = [_lengths(part, variance) for part in parts]
    unit, spread, whole = (torch.cat(values) for values in zip(*lengths, strict=True))
    overlaps = _overlaps(couplings, pointer, spread) * unit[:, None]
    scores = overlaps - overlaps[:, live].mean(-1, keepdim=True)
    scores = scores / spread.maximum(_ALIKE * whole).clamp_min(1e-300)[:, None]
    others = scores[:, live].sort(-1).values[:, : count - 1]
    if count > 2:
        scatter = (others - others.mean(-1, keepdim=True)).square().sum(-1, keepdim=True)
        scores = scores / ((_PRIOR + scatter) / (_PRIOR + count - 2)).sqrt()
    return softplus(scores - sqrt(2 * log(count)))


def _overlaps(couplings: HubCouplings, pointer: Tensor, spread: Tensor) -> Tensor:
    """Overlaps of pointers (b, bits) with all masks: by two digits where these are enough.

    They are where rounding adds little to the spread of the overlaps, (b,), in units of the largest
    entry, and where that is not of a single neuron, beside which all others are small.
    """
    rounding = 2**-14 * sqrt(pointer.shape[-1] / 12)
    enough = spread >= max(1.0, rounding / _ROUNDED)
    if bool(enough.all()):
        return couplings.overlaps(pointer, digits=2)  # pointers take many bytes to copy
    if not bool(enough.any()):
        return couplings.overlaps(pointer)
    coarse = couplings.overlaps(pointer[enough], digits=2)
    overlaps = coarse.new_empty(len(pointer), coarse.shape[-1])
    overlaps[enough], overlaps[~enough] = coarse, couplings.overlaps(pointer[~enough])
    return overlaps


def _lengths(pointer: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A power of two u for each pointer b (rows, bits), ‖u b ⊙ σ‖, and ‖u b‖; float64 (rows,).

    u brings the largest entry of u b to about 1, so that squares fit into floats.
    """
    _, exponent = torch.frexp(pointer.abs().amax(-1))
    unit = torch.ldexp(torch.ones_like(exponent, dtype=pointer.dtype), -exponent.clamp(-126, 126))
    square = (pointer * unit[:, None]).square_()
    return unit.double(), (square @ variance).double().sqrt(), square.sum(-1).double().sqrt()
