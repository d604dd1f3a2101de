"""Products of packed bits with whole numbers, by matrix products of floats.

One block is opened at a time: B & 2^j takes bit j of every byte of a block B, with the values 0 and
2^j. No float copy of a whole matrix is ever made. Whole numbers of 12 bits are so small that floats
count them exactly, in any order.
"""

from math import prod

import torch
from torch import Tensor

from supsup_bridge.networks.precision import without_autocast

BITS = 12  # of a whole number, which lies within ±2048
_BLOCK = (256, 1024)  # rows and bytes that are opened at a time: their floats stay in the cache
_COLUMNS = 16  # a product with fewer takes longer
_EXACT = 2**13  # that many numbers add up to 2^24 at most, so floats count them exactly


def opened_product(packed: Tensor, numbers: Tensor) -> Tensor:
    """Exact products Σ_w m_iw q_bw, on any device.

    Args:
        packed: uint8, (k, P).
        numbers: q, float32, (b, 8 P): whole, |q| <= 2048.

    Returns:
        float64, (b, k).

    Example:
        >>> opened_product(torch.tensor([[3]], dtype=torch.uint8), torch.arange(8.0)[None] + 1)
        tensor([[3.]], dtype=torch.float64)
    """
    planes = numbers.reshape(len(numbers), -1, 8).permute(2, 1, 0).contiguous()
    with without_autocast(packed.device):
        return _multiplied(packed, planes).T


def sums(packed: Tensor, numbers: Tensor) -> Tensor:
    """Exact sums Σ_i q_bi m_i of rows, on any device.

    Args:
        packed: uint8, (k, P).
        numbers: q, float32, (b, k): whole, |q| <= 2048.

    Returns:
        float64, (8, b, P); entry (j, b, p) is that of bit j of byte p.

    Example:
        >>> sums(torch.tensor([[3]], dtype=torch.uint8), torch.tensor([[5.0]])).flatten().tolist()
        [5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    total = torch.zeros(8, len(numbers), packed.shape[1], dtype=torch.float64, device=packed.device)
    with without_autocast(packed.device):
        for first in range(0, len(packed), _EXACT):
            rows = slice(first, first + _EXACT)
            total += _summed(packed[rows], numbers[:, rows])
    return total


def _multiplied(packed: Tensor, planes: Tensor) -> Tensor:
    """Exact products (k, columns) float64 of all rows with whole numbers (8, P, columns)."""
    live = planes.ne(0).any(-1).any(0)
    chosen = live.nonzero()[:, 0] if int(live.sum()) < len(live) / 2 else None
    planes = _over_places(planes if chosen is None else planes[:, chosen])
    columns = planes.shape[2]
    planes = torch.nn.functional.pad(planes, (0, -columns % _COLUMNS))
    counted = planes.new_zeros(len(packed), planes.shape[2], dtype=torch.float64)
    high, wide = _BLOCK
    opened = _Opened(packed.device)
    for row in range(0, len(packed), high):
        rows = packed[row : row + high]
        rows = rows if chosen is None else rows[:, chosen]
        for first in range(0, rows.shape[1], wide):
            block = rows[:, first : first + wide]
            part = planes.new_zeros(len(block), planes.shape[2])
            for j in range(8):  # at most 8 · 1024 terms within ±2048: floats count them exactly
                part.addmm_(opened.plane(block, j), planes[j, first : first + wide])
            counted[row : row + high] += part
    return counted[:, :columns]


def _summed(packed: Tensor, numbers: Tensor) -> Tensor:
    """Exact sums (8, c, P) float32 of at most `_EXACT` rows times whole numbers (c, k)."""
    sums = numbers.new_zeros(8, len(numbers), packed.shape[1])
    places = _over_places(numbers.expand(8, *numbers.shape))
    high, wide = _BLOCK
    opened = _Opened(packed.device)
    for first in range(0, packed.shape[1], wide):
        tile = slice(first, first + wide)
        for row in range(0, len(packed), high):
            rows = slice(row, row + high)
            for j in range(8):
                sums[j, :, tile] += places[j, :, rows] @ opened.plane(packed[rows, tile], j)
    return sums


class _Opened:
    """One bit of each byte of a block as floats, in a place that is used again and again."""

    def __init__(self, device: torch.device) -> None:
        self._bytes = torch.empty(prod(_BLOCK), dtype=torch.uint8, device=device)
        self._floats = torch.empty(prod(_BLOCK), dtype=torch.float32, device=device)

    def plane(self, block: Tensor, j: int) -> Tensor:
        """Bit j, as 0 or 2^j."""
        bits = self._bytes[: block.numel()].view(block.shape)
        torch.bitwise_and(block, 1 << j, out=bits)
        return self._floats[: block.numel()].view(block.shape).copy_(bits)


def _over_places(numbers: Tensor) -> Tensor:
    """Numbers (8, ...), the j-th over the 2^j that bit j is worth."""
    worth = torch.tensor([2.0**j for j in range(8)], dtype=torch.float32, device=numbers.device)
    return numbers / worth[:, None, None]
