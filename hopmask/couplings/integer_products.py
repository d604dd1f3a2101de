"""Exact products with a tall matrix of small integers: tiles in floats, never a float copy of it.

Sums of so small whole numbers are exact in floats, in any order: a product has the same bits on
every device and whatever else is in the call. Entries of int8 are multiplied as they are where the
processor can (see `int8_product`). Else they are opened as float32, 1024 rows at a time: digits of
a vector lie within ±128, so that sums stay within 2^24. Wider entries are opened as float64, or as
float32 where a tile of small ones meets vectors of ±1. Where several vectors meet int16, a
processor with products of int8 takes two digits of each entry, or, for many vectors, half of it,
where the entries are sums of ±1 (see `halves`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hopmask.couplings.halves import halves
from hopmask.couplings.int8_product import MOST, has_int8_product, int8_product
from hopmask.errors import NumericalError

_ROWS = 1024  # of a tile of int8: 128 · 128 · 1024 = 2^24
_TILE = 1 << 19  # entries of a wider tile
_ACROSS = 1 << 20  # entries of a tile that meets vectors across
_FIELDS = 1 << 18  # products of a tile of int8 with vectors across
_AHEAD = 1 << 19  # entries of vectors whose digits are made at once
_DIGITS = 3  # of 8 bits, of a vector, unless fewer are asked for
_BASE = 256
_MIDDLE = 0x808080  # 128 in each digit
_HALF = 128
_MANY = 4  # vectors from which on it is faster to split int16
_HALVED = 96  # digits from which on halves of int16 are faster, which take passes to make
_ROWS_HALVED = 2048  # of a tile then: sums take passes too
_SMALL = 256  # whole numbers that even bfloat16 holds, in which torch may be set to multiply
_LARGEST = 127 * _BASE + 127  # of the whole numbers in two digits


def tiles(matrix: Tensor, *, rows: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Parts of a matrix's rows, and each as floats in which whole numbers are counted exactly.

    Args:
        matrix: int8, int16 or int32, (D, K).
        rows: of a part; by default as many as keep the floats in the cache.
    """
    small = matrix.dtype == torch.int8
    rows = rows or (_ROWS if small else max(1, _TILE // max(1, matrix.shape[1])))
    kind = torch.float32 if small else torch.float64
    opened = torch.empty(min(rows, len(matrix)), matrix.shape[1], dtype=kind, device=matrix.device)
    for where in _parts(matrix, rows):
        part = opened[: where.stop - where.start]
        part.copy_(matrix[where])
        yield where, part


class Vectors:
    """Real vectors as whole numbers, g ≈ q · scale, in digits of 8 bits.

    Args:
        vectors: finite, (b, D).
        digits: n, from 1 to 3: |q| <= 2^(8n − 2). A product takes time in proportion.

    Attributes:
        scale: a power of two for each vector, float64 (b, 1).
        number: of digits.

    Raises:
        NumericalError: NaN or infinity.

    Example:
        >>> vectors = Vectors(torch.tensor([[0.5, -1.0, 0.25]]))
        >>> vectors.whole(slice(0, 3)) * vectors.scale
        tensor([[ 0.5000, -1.0000,  0.2500]], dtype=torch.float64)
    """

    def __init__(self, vectors: Tensor, *, digits: int = _DIGITS) -> None:
        self.number = digits
        wide = vectors.dtype in (torch.float32, torch.float64)
        self._vectors = vectors.detach() if wide else vectors.detach().float()
        ends = self._vectors.amin(-1, keepdim=True), self._vectors.amax(-1, keepdim=True)
        largest = torch.maximum(*map(torch.abs, ends)).double()
        if not bool(torch.isfinite(largest).all()):
            raise NumericalError("a vector to recall by holds NaN or infinity")
        _, exponent = torch.frexp(largest)
        shift = 8 * digits - 2 - exponent
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
        """q of some entries as Σ_i 256^(n−1−i) d_i, −128 <= d_i < 128: int8, (n, b, entries)."""
        bytes_of = (self.whole(where).int() + _MIDDLE) ^ _MIDDLE  # no digit borrows from another
        shifts = range(8 * (self.number - 1), -1, -8)
        return torch.stack([(bytes_of >> shift).to(torch.int8) for shift in shifts])


def along(matrix: Tensor, vectors: Vectors, count: int, *, first: int = 0) -> Tensor:
    """Products q A of whole vectors (b, first + D), from entry `first` on, with a matrix (D, K).

    Returns:
        float64 (b, K), exact while it is below 2^53.
    """
    total = matrix.new_zeros(vectors.number, count, matrix.shape[1], dtype=torch.float64)
    ahead = _AHEAD // max(1, count)
    if matrix.dtype != torch.int8 and (count < _MANY or not _splits(matrix)):
        rows = max(1, min(ahead, _TILE // matrix.shape[1]))
        for here, part in tiles(matrix, rows=rows):
            where = slice(first + here.start, first + here.stop)
            total[0] += vectors.whole(where).double() @ part
        return total[0]
    rows = _ROWS * max(1, min(MOST, ahead) // _ROWS)
    for start in range(0, len(matrix), rows):
        part = matrix[start : start + rows]
        digits = vectors.digits(slice(first + start, first + start + len(part)))
        _add_product(total.view(-1, matrix.shape[1]), digits.flatten(0, 1), part)
    found = total[0]
    for lower in total[1:]:
        found = found.mul_(_BASE).add_(lower)
    return found


def across(
    matrix: Tensor, vectors: Tensor, *, rows: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Products v Aᵀ of vectors (b, K) with some rows of a matrix (D, K) at a time, (b, rows).

    Vectors of ±1 are given as int8 and multiplied exactly: with int8 as such, with wider entries
    in floats of 32 bits where a tile has small ones, else of 64. Others are opened like the matrix.
    The products are floats either way.
    """
    signs = vectors.dtype == torch.int8
    if signs and matrix.dtype == torch.int8 and has_int8_product(matrix.device):
        rows = rows or max(_ROWS, _FIELDS // max(1, len(vectors)))
        for where in _parts(matrix, rows):
            yield where, int8_product(vectors, matrix[where].T).float()
        return
    rows = rows or max(1, min(4 * _ROWS, _ACROSS // matrix.shape[1]))
    for where in _parts(matrix, rows):
        part = matrix[where]
        small = _is_small(part) if signs else part.dtype == torch.int8
        kind = torch.float32 if small else torch.float64
        yield where, vectors.to(kind) @ part.to(kind).T


def _parts(matrix: Tensor, rows: int) -> Iterator[slice]:
    """So many rows of a matrix at a time."""
    for first in range(0, len(matrix), rows):
        yield slice(first, min(first + rows, len(matrix)))


def _is_small(tile: Tensor) -> bool:
    """Whether sums of ± a row's entries, up to 2^16 of them, are exact in floats of 32 bits."""
    if tile.dtype == torch.int8 or tile.numel() == 0:
        return True
    low, high = tile.aminmax()
    return max(-int(low), int(high)) <= _SMALL


def _splits(matrix: Tensor) -> bool:
    """Whether int8 takes the place of the entries: of int16, where products of int8 are fast."""
    return matrix.dtype == torch.int16 and has_int8_product(matrix.device)


def _add_digits(total: Tensor, digits: Tensor, tile: Tensor) -> None:
    """Add digits int8 (m, n) times a tile of int16 (n, K), exact, to float64 (m, K)."""
    if len(digits) >= _HALVED and (half := halves(tile)) is not None:
        half.add_along(digits, total)
    elif int(tile.amax()) > _LARGEST:
        total.addmm_(digits.double(), tile.double())
    else:
        whole = (tile + _HALF).bitwise_xor_(_HALF).contiguous()
        both = int8_product(digits, whole.view(torch.int8))  # of b, a, b, a ..., of a · 256 + b
        pairs = both.view(len(digits), -1, 2)
        total.add_(pairs[..., 1], alpha=_BASE).add_(pairs[..., 0])


def _add_product(total: Tensor, digits: Tensor, part: Tensor) -> None:
    """Add digits int8 (m, n) times couplings int8 or int16 (n, K), n <= 2^16, exact, to (m, K)."""
    if part.dtype == torch.int16:
        rows = _ROWS if len(digits) < _HALVED else _ROWS_HALVED
        for first in range(0, len(part), rows):
            where = slice(first, first + rows)
            _add_digits(total, digits[:, where], part[where])
    elif has_int8_product(part.device):
        total += int8_product(digits, part)
    else:
        opened_digits = digits.float()
        for where, opened in tiles(part):
            total += opened_digits[:, where] @ opened
