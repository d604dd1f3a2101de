"""Few levels per coupling: how hub couplings are rounded for a smaller file."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

_DISTANCE = {1: 1.596, 2: 0.9957, 3: 0.5860, 4: 0.3352}  # of levels, in standard deviations
BITS = tuple(_DISTANCE)
_ROWS = 512  # packed at a time; a multiple of 8, so that parts end with a byte


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How narrow couplings were rounded: A ≈ u · step, u odd, |u| < 2^bits.

    Attributes:
        bits: per coupling, 1 to 4.
        step: half the distance of two levels.
        neurons: the couplings of the first so many mask neurons were rounded; all others are exact.

    Source:
        Max 1960, "Quantizing for minimum distortion": the distance of levels of a Gaussian's best
        uniform quantiser.
    """

    bits: int
    step: float
    neurons: int


def levels_of(narrow: Tensor, *, bits: int, neurons: int, spacing: int) -> Levels:
    """Levels for couplings (D, K) that are Gaussian, but for each `spacing`-th column, which is 0.

    σ is the root mean square of the couplings that are rounded.
    """
    total = 0
    for part in torch.split(narrow[:neurons], _ROWS):
        total += int(part.to(torch.int32).square().sum())
    used = neurons * (narrow.shape[1] - narrow.shape[1] // spacing)
    sigma = max(sqrt(total / max(1, used)), 0.5)
    return Levels(bits=bits, step=_DISTANCE[bits] * sigma / 2, neurons=neurons)


def packed(narrow: Tensor, levels: Levels) -> np.ndarray:
    """Couplings as `levels.bits` planes of bits: uint8 (bits, ⌈neurons K / 8⌉).

    Plane i holds bit i of (u + 2^bits − 1) / 2, row by row, the first in the most significant bit.
    """
    hubs = narrow.shape[1]
    planes = np.zeros((levels.bits, -(-levels.neurons * hubs // 8)), np.uint8)
    done = 0
    for part in torch.split(narrow[: levels.neurons], _ROWS):
        code = torch.floor(part.float() / (2 * levels.step)) + 2 ** (levels.bits - 1)
        code = code.clamp_(0, 2**levels.bits - 1).to(torch.uint8).flatten().cpu()
        for plane in range(levels.bits):
            bits = np.packbits((code >> plane & 1).numpy())
            planes[plane, done : done + len(bits)] = bits
        done += len(bits)
    return planes


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
