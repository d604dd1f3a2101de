"""Tiles of int16 that int8 can hold: sums of equally many ±1 are of one parity, so half is enough.

A column of hub couplings adds up one ±1 for each task, or is 0 throughout. So its entries are all
even or all odd, A = 2 H + p, and H fits into int8 up to |A| = 255: five standard deviations of the
sums of 2,500 tasks. One product of int8 takes the place of two (see `integer_products`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hopmask.couplings.int8_product import int8_product

_SELDOM = 16  # rows of a tile for each that may lie beyond


class Halves(NamedTuple):
    """A tile A (n, K) of int16 as 2 H + p, and what is left over of some rows.

    Attributes:
        half: H, int8 (n, K).
        parity: p of each column, 0 or 1, int16 (K,).
        beyond: rows with an entry that int8 cannot hold half of, (r,).
        left: A − 2 H − p of those rows, float64 (r, K).
    """

    half: Tensor
    parity: Tensor
    beyond: Tensor
    left: Tensor

    def add_along(self, digits: Tensor, total: Tensor) -> None:
        """Add products of digits int8 (m, n) with A, exact, to a total, float64 (m, K)."""
        total.add_(int8_product(digits, self.half), alpha=2)
        if bool(self.parity.any()):
            total.addr_(digits.sum(1).double(), self.parity.double())
        if len(self.beyond):
            total.addmm_(digits[:, self.beyond].double(), self.left)


def halves(tile: Tensor) -> Halves | None:
    """A tile int16 (n, K) as `Halves`; None where columns mix parities, or many rows lie beyond.

    Example:
        >>> found = halves(torch.tensor([[5, 0], [-3, 254]], dtype=torch.int16))
        >>> found.half, found.parity
        (tensor([[  2,   0],
                [ -2, 127]], dtype=torch.int8), tensor([1, 0], dtype=torch.int16))
        >>> halves(torch.tensor([[5], [-4]], dtype=torch.int16)) is None
        True
    """
    mixed = tile.bitwise_xor(tile[0]).bitwise_and_(1)
    if bool(mixed.amax()):
        return None
    beyond = ((tile.amin(1) < -256) | (tile.amax(1) > 255)).nonzero()[:, 0]
    if len(beyond) * _SELDOM > len(tile):
        return None
    parity = tile[0].bitwise_and(1)
    half = tile.bitwise_right_shift(1).to(torch.int8)
    left = tile[beyond].double() - 2 * half[beyond].double() - parity
    return Halves(half, parity, beyond, left)
