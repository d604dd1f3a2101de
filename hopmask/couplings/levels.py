"""Few levels per coupling: how hub couplings are rounded for a smaller file.

Each coupling goes to the nearest level at first. A neuron whose bit would then be wrong in some of
the masks is rounded anew, a few times: what its fields lack is added to its couplings before they
are rounded (error feedback). So two bits per coupling keep nearly every bit of K masks, where the
nearest levels lose one in 500. Reading knows nothing of this.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from hopmask.patterns.hadamard import transform

_DISTANCE = {1: 1.596, 2: 0.9957, 3: 0.5860, 4: 0.3352}  # of levels, in standard deviations
BITS = tuple(_DISTANCE)
_LEAST = 1e-6  # variance: where all masks agree, narrow couplings are 0
_ROUNDS = 128  # of rounding a neuron anew, at most
_MARGIN, _LITTLE = 0.1, 1e-5  # fields of a right bit that are aimed at, and that are no rounding
_HOPELESS = 0.05  # share of wrong bits from which on a neuron is left at the nearest levels,
_FEW = 4  # and how many are never too many
_ROWS = 512  # packed at a time; a multiple of 8, so that parts end with a byte


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How narrow couplings were rounded: A_ij ≈ u_ij s_i, u odd, |u| < 2^bits.

    Attributes:
        bits: per coupling, 1 to 4.
        neurons: the couplings of the first so many mask neurons were rounded; all others are exact.
        tasks: k, held when they were rounded.
        hubs: K.

    Source:
        Max 1960, "Quantizing for minimum distortion": the distance of levels of a Gaussian's best
        uniform quantiser.
    """

    bits: int
    neurons: int
    tasks: int
    hubs: int

    def steps(self, wide: Tensor) -> Tensor:
        """s of the mask neurons whose wide columns are given, (n, K / K₀): float32 (n,).

        s_i is half the distance of two levels of a Gaussian of variance

            σ_i² = (k K − Σ_j wide_ij²) / (K − K / K₀),

        the mean square of the neuron's narrow couplings, exactly: keys are orthogonal, so that the
        squares of all its couplings add up to k K. No step is kept.
        """
        broad = wide.shape[1]
        rest = self.tasks * self.hubs - wide.long().square().sum(-1)
        variance = rest.double() / (self.hubs - broad)
        return (_DISTANCE[self.bits] / 2 * variance.clamp_min(_LEAST).sqrt()).float()


def packed(narrow: Tensor, wide: Tensor | None, levels: Levels) -> np.ndarray:
    """Couplings as `levels.bits` planes of bits: uint8 (bits, ⌈neurons K / 8⌉).

    Plane i holds bit i of (u + 2^bits − 1) / 2, row by row, the first in the most significant bit.

    Args:
        narrow: (D, K); u itself where `wide` is None.
        wide: (D, K / K₀).
        levels: by which to round.
    """
    hubs = narrow.shape[1]
    planes = np.zeros((levels.bits, -(-levels.neurons * hubs // 8)), np.uint8)
    done = 0
    for first in range(0, levels.neurons, _ROWS):
        where = slice(first, min(first + _ROWS, levels.neurons))
        part = narrow[where].float()
        odd = part if wide is None else _rounded(part, wide[where], levels)
        code = ((odd + 2**levels.bits) / 2).to(torch.uint8).flatten().cpu()
        for plane in range(levels.bits):
            bits = np.packbits((code >> plane & 1).numpy())
            planes[plane, done : done + len(bits)] = bits
        done += len(bits)
    return planes


def _rounded(narrow: Tensor, wide: Tensor, levels: Levels) -> Tensor:
    """u of some neurons' couplings, (n, K); 0 where wide ones stand."""
    hubs, spacing = levels.hubs, levels.hubs // wide.shape[1]
    steps = levels.steps(wide)[:, None]
    aim = narrow.clone()
    aim[:, ::spacing] = wide.float()
    bits = transform(aim) / hubs  # ±1 under the keys of tasks held, 0 under others
    held = bits != 0
    found = _nearest(aim / steps, levels.bits)
    fewest = torch.full((len(narrow),), hubs + 1, device=narrow.device)
    rows = torch.arange(len(narrow), device=narrow.device)
    most = max(_FEW, _HOPELESS * levels.tasks)
    for _ in range(_ROUNDS):
        tried = _nearest(aim / steps[rows], levels.bits)
        couplings = tried * steps[rows]
        couplings[:, ::spacing] = wide[rows].float()
        right = bits[rows] * (transform(couplings) / hubs)
        wrong = ((right < _LITTLE) & held[rows]).sum(-1)
        better = wrong < fewest[rows]
        found[rows[better]], fewest[rows[better]] = tried[better], wrong[better]
        going = (wrong > 0) & (wrong <= most)
        if not bool(going.any()):
            break
        lacking = (_MARGIN - right).clamp_min(0) * bits[rows]
        aim, rows, most = (aim + transform(lacking))[going], rows[going], inf
    found[:, ::spacing] = 0
    return found


def _nearest(couplings: Tensor, bits: int) -> Tensor:
    """The odd numbers below 2^bits nearest to couplings in units of their steps."""
    most = 2**bits - 1
    return (2 * torch.floor(couplings / 2) + 1).clamp_(-most, most)


def unpack(planes: np.ndarray, levels: Levels, *, into: Tensor, spacing: int) -> None:
    """Put u of couplings that `packed` packed into the first rows of integers (D, K).

    Each `spacing`-th column is 0.
    """
    done = 0
    for part in torch.split(into[: levels.neurons], _ROWS):
        size = -(-part.numel() // 8)
        code = np.zeros(part.numel(), np.int8)
        for plane in range(levels.bits):
            bits = np.unpackbits(planes[plane, done : done + size])[: part.numel()]
            code += (bits << plane).astype(np.int8)
        part.copy_(torch.from_numpy(2 * code + 1 - 2**levels.bits).reshape(part.shape))
        part[:, ::spacing] = 0
        done += size
