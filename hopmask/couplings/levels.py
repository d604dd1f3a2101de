"""Few levels per coupling: how hub couplings are rounded for a smaller file."""

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = {1: 1.5958, 2: 0.9957, 3: 0.5860, 4: 0.3352}  # of a unit Gaussian's best uniform quantiser


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How narrow couplings were rounded: A ≈ u · step, u odd, |u| < 2^bits.

    Attributes:
        bits: per coupling, 1 to 4.
        step: half the distance of two levels.
        neurons: of the first so many mask neurons; the couplings of all others are exact.

    Source:
        Max 1960, "Quantizing for minimum distortion": the spacing of a Gaussian's best uniform
        quantiser, in standard deviations.
    """

    bits: int
    step: float
    neurons: int


def rounded(narrow: Tensor, levels: Levels) -> Tensor:
    """Odd u with A ≈ u · step, int8, of couplings (r, K)."""
    most = 2**levels.bits - 1
    whole = torch.floor(narrow.float() / (2 * levels.step)) * 2 + 1
    return whole.clamp(-most, most).to(torch.int8)
