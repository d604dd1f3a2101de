"""Exact products with a tall matrix of small integers: tiles in floats, never a float copy of it.

Sums of so small whole numbers are exact in floats, in any order: a product has the same bits on
every device and whatever else is in the call. Entries of int8 are opened as float32, 1024 rows at a
time: digits of a vector lie within ±128, so that sums stay within 2^24. Wider entries are opened as
float64.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hopmask.errors import NumericalError

_ROWS = 1024  # of a tile: 128 · 128 · 1024 = 2^24
_TILE = 1 << 22  # entries of a wider tile, at most
_AHEAD = 1 << 17  # entries of vectors whose digits are made at once
_DIGITS = 3  # of 8 bits, of a vector
_BASE = 256


def tiles(matrix: Tensor, *, rows: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Parts of a matrix's rows, and each as floats in which whole numbers are counted exactly.

    Args:
        matrix: int8, int16 or int32, (D, K).
        rows: of a part; by default as many as keep the floats in the cache.
    """
    small = matrix.dtype == torch.int8
    rows = rows or (_ROWS if small else max(1, min(_ROWS, _TILE // max(1, matrix.shape[1]))))
    kind = torch.float32 if small else torch.float64
    opened = torch.empty(min(rows, len(matrix)), matrix.shape[1], dtype=kind, device=matrix.device)
    for first in range(0, len(matrix), rows):
        where = slice(first, min(first + rows, len(matrix)))
        part = opened[: where.stop - first]
        part.copy_(matrix[where])
        yield where, part


class Vectors:
    """Real vectors as whole numbers: g ≈ q · scale, with |q| <= 2^23 in three digits of 8 bits.

    Args:
        vectors: finite, (b, D).

    Attributes:
        scale: a power of two for each vector, float64 (b, 1).

    Raises:
        NumericalError: NaN or infinity.

    Example:
        >>> vectors = Vectors(torch.tensor([[0.5, -1.0, 0.25]]))
        >>> vectors.whole(slice(0, 3)) * vectors.scale
        tensor([[ 0.5000, -1.0000,  0.2500]], dtype=torch.float64)
    """

    def __init__(self, vectors: Tensor) -> None:
        wide = vectors.dtype in (torch.float32, torch.float64)
        self._vectors = vectors.detach() if wide else vectors.detach().float()
        largest = self._vectors.abs().amax(-1, keepdim=True).double()
        if not bool(torch.isfinite(largest).all()):
            raise NumericalError("a vector to recall by holds NaN or infinity")
        _, exponent = torch.frexp(largest)
        shift = 23 - exponent
        self.scale = torch.ldexp(torch.ones_like(largest), -shift)
        half = shift.div(2, rounding_mode="floor")
        self._factors = tuple(
            torch.ldexp(torch.ones_like(largest), part).to(self._vectors)
            for part in (half, shift - half)
        )

    def whole(self, where: slice) -> Tensor:
        """q of some entries: whole numbers as floats of the vectors' type, (b, entries)."""
        first, second = self._factors  # a product of two, since one may lie beyond the floats
        return (self._vectors[:, where] * first).mul_(second).round_()

    def digits(self, where: slice) -> Tensor:
        """q of some entries as Σ_i 256^(2−i) d_i, |d_i| <= 128: float32, (3, b, entries)."""
        rest, found = self.whole(where).int(), []
        for _ in range(_DIGITS - 1):
            digit = ((rest + _BASE // 2) & (_BASE - 1)) - _BASE // 2
            found.append(digit)
            rest = (rest - digit) >> 8
        return torch.stack([rest, *reversed(found)]).float()


def along(matrix: Tensor, vectors: Vectors, count: int, *, first: int = 0) -> Tensor:
    """Products q A of whole vectors (b, first + D), from entry `first` on, with a matrix (D, K).

    Returns:
        float64 (b, K), exact while it is below 2^53.
    """
    small = matrix.dtype == torch.int8
    shape = (_DIGITS * count, matrix.shape[1]) if small else (count, matrix.shape[1])
    total = torch.zeros(shape, dtype=torch.float64, device=matrix.device)
    ahead = _ROWS * max(1, _AHEAD // (_ROWS * count))  # rows whose digits are made at once
    digits = total[:0]
    for here, part in tiles(matrix):
        where = slice(first + here.start, first + here.stop)
        if small:
            at = here.start % ahead
            if at == 0:
                last = min(here.start + ahead, len(matrix))
                digits = vectors.digits(slice(where.start, first + last)).flatten(0, 1)
            total += digits[:, at : at + len(part)] @ part
        else:
            total += vectors.whole(where).double() @ part
    if not small:
        return total
    high, middle, low = torch.split(total, count)
    found: Tensor = (high * _BASE + middle) * _BASE + low
    return found
