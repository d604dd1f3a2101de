"""Real numbers as whole numbers times a power of 2, so that sums of them are exact.

Sums of whole numbers below 2^53 are the same in any order, on any device and by any number of
threads: a product depends on its row and its vector alone, to the bit.
"""

from math import ldexp

import torch
from torch import Tensor

from hopmask import NumericalError

_PLACES = (10, 22, 34)  # behind the point, of numbers within ±2: one digit of 12 bits, two or three
_ERROR = 1e-6  # of rounding, relative to Σ|g|
_REST = 2**12  # steps into which a remainder is rounded


def whole(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row g of some values as q · 2^-f · 2^e, with the whole numbers q.

    2^e is the power of 2 at or below the largest size in the row, and f is 10; or 22 where the
    remainder r of 10 has √Σr² > 1e-6 Σ|g|, or 34 where that of 22 has. All of it depends on the row
    alone, and Σ|q| stays below 2^53 for rows of less than 2^29 values.

    Args:
        values: float, (b, n).

    Returns:
        q: (b, n) in the type of the values, at least float32; |q| <= 2^(f+1).
        2^-f and 2^e: float64, (b, 1).

    Raises:
        NumericalError: the values hold NaN or infinity.

    Example:
        >>> numbers, fraction, scale = whole(torch.tensor([[0.75, -3.0, 0.0]]))
        >>> numbers * fraction * scale
        tensor([[ 0.7500, -3.0000,  0.0000]], dtype=torch.float64)

    Source:
        Fixed-point quantisation of each row.
    """
    exact = values if values.dtype == torch.float64 else values.to(torch.float32)
    scale = _powers_below(exact)
    ratio = exact / scale.to(exact.dtype)  # within ±2
    numbers, fraction = ratio, torch.ones_like(scale)
    short = torch.ones_like(scale, dtype=torch.bool)
    for places in _PLACES:
        finer = ratio * 2.0**places
        nearest = finer.round()
        numbers = nearest if bool(short.all()) else torch.where(short, nearest, numbers)
        fraction = torch.where(short, 2.0**-places, fraction)
        if places == _PLACES[-1]:
            break
        rest = (finer - nearest).mul_(_REST).round_()  # whole too: so its sum is exact
        size = rest.square_().sum(1, keepdim=True, dtype=torch.float64).sqrt() / _REST
        short = short & (size > _ERROR * nearest.abs().sum(1, keepdim=True, dtype=torch.float64))
        if not bool(short.any()):
            break
    return numbers, fraction, scale


def digits(numbers: Tensor, bits: int) -> list[Tensor]:
    """Whole numbers as Σ_d digit_d 2^(bits · d), with |digit_d| <= 2^(bits - 1).

    Args:
        numbers: whole, of any shape.
        bits: of a digit.

    Returns:
        The digits, float32 of the same shape, the lowest first.

    Example:
        >>> [digit.tolist() for digit in digits(torch.tensor([[4097.0, 8191.0]]), 12)]
        [[[1.0, -1.0]], [[1.0, 2.0]]]
    """
    found = []
    while numbers.numel() and float(numbers.abs().max()) > 2 ** (bits - 1):
        higher = (numbers * 2.0**-bits).round()
        found.append((numbers - higher * 2.0**bits).to(torch.float32))
        numbers = higher
    return [*found, numbers.to(torch.float32)]


def _powers_below(values: Tensor) -> Tensor:
    """The power of 2 at or below the largest size in each row, (b, 1) float64; 1 for zeros."""
    if values.shape[1] == 0:
        return values.new_ones(len(values), 1, dtype=torch.float64)
    peaks = values.abs().amax(1)
    if not bool(torch.isfinite(peaks).all()):
        raise NumericalError("products need finite numbers: the vectors hold NaN or infinity")
    exponents = torch.frexp(torch.where(peaks > 0, peaks, 1.0)).exponent - 1
    powers = [ldexp(1.0, exponent) for exponent in exponents.tolist()]
    return torch.tensor(powers, dtype=torch.float64, device=values.device)[:, None]
