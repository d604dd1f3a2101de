"""Binary matrices at one bit per entry, and products with them.

Bit j of byte p is entry 8p + j of its row; bits beyond the last entry are 0. A product opens one
block at a time: B & 2^j takes bit j of every byte of a block B, with the values 0 and 2^j. No float
copy of a whole matrix is ever made.

Vectors are written in digits of 12 bits first. Sums of so small whole numbers are exact in floats,
in any order and on any device: a product depends on its row and its vector alone, to the bit, and
not on what else is in the call.
"""

from math import ldexp, prod

import torch
from torch import Tensor

from hopmask import NumericalError
from supsup_bridge.networks.precision import without_autocast

_BLOCK = (256, 1024)  # rows and bytes that are opened at a time: their floats stay in the cache
_TOGETHER = 16  # vectors whose digits are multiplied at a time
_COLUMNS = 16  # a product with fewer takes longer
_DIGITS = 3  # at most; 12 bits each, within ±2048
_EXACT = 2**13  # that many digits add up to 2^24 at most, so floats count them exactly
_ERROR = 1e-6  # of the digits, relative to Σ|g|


def pack(bits: Tensor) -> Tensor:
    """Eight entries to a byte.

    Args:
        bits: bool, (..., w).

    Returns:
        uint8, (..., ⌈w/8⌉), on the same device; entry 8p + j is bit j of byte p.

    Example:
        >>> pack(torch.tensor([True, False, True]))
        tensor([5], dtype=torch.uint8)

    Source:
        `numpy.packbits` with bitorder="little" packs the same way.
    """
    padded = torch.nn.functional.pad(bits.to(torch.uint8), (0, -bits.shape[-1] % 8))
    bytewise = padded.reshape(*bits.shape[:-1], padded.shape[-1] // 8, 8)
    return (bytewise << _places(bits.device)).sum(-1, dtype=torch.uint8)


def unpack(packed: Tensor, width: int) -> Tensor:
    """The inverse of `pack`.

    Args:
        packed: uint8, (..., ⌈width/8⌉).
        width: entries of a row.

    Returns:
        bool, (..., width).

    Example:
        >>> unpack(torch.tensor([5], dtype=torch.uint8), 3)
        tensor([ True, False,  True])

    Source:
        See `pack`.
    """
    return (packed[..., None] >> _places(packed.device) & 1).bool().flatten(-2)[..., :width]


def products(packed: Tensor, vectors: Tensor) -> Tensor:
    """Products of all rows with some vectors, s_bi = Σ_w m_iw g_bw.

    Each g_b is rounded to two digits, or three where the remainder r of two has √Σr² > 1e-6 Σ|g|;
    everything else is exact until the result is rounded to its type. So the error, relative to
    Σ|g|, is about 1e-6 or less; masks fitted to r could make it √w times that. Equal rows have
    equal products, and those of a vector do not depend on the others given.

    Args:
        packed: uint8, (k, ⌈w/8⌉), from `pack`.
        vectors: float, (b, w), on the same device.

    Returns:
        (b, k): float64 for float64 vectors, else float32.

    Raises:
        NumericalError: the vectors hold NaN or infinity, or a product is too large for the type of
            the result.

    Example:
        >>> rows = pack(torch.tensor([[True, True, False], [False, True, True]]))
        >>> products(rows, torch.tensor([[1.0, 2.0, 4.0]]))
        tensor([[3., 6.]])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 4: the gradient by α_i is ⟨g, M_i⟩.
    """
    size = packed.shape[1]
    padded = torch.nn.functional.pad(vectors.detach(), (0, 8 * size - vectors.shape[1]))
    found = [vectors.new_zeros(0, len(packed), dtype=_result_type(vectors))]
    for group in torch.split(padded, _TOGETHER) if len(vectors) else ():
        digits, scale = _digits(group)
        planes = digits.reshape(-1, size, 8).permute(2, 1, 0).contiguous()
        with without_autocast(packed.device):
            counted = _multiplied(packed, planes)
        found.append(_rounded(counted.T, scale, vectors))
    return torch.cat(found)


def combine(packed: Tensor, weights: Tensor, width: int) -> Tensor:
    """Weighted sums of the rows, Σ_i α_bi m_i.

    As exact as `products`: the sums of one b do not depend on the other weights given.

    Args:
        packed: uint8, (k, ⌈width/8⌉), from `pack`.
        weights: α, float, (b, k), on the same device.
        width: entries of a row.

    Returns:
        (b, width): float64 for float64 weights, else float32.

    Raises:
        NumericalError: the weights hold NaN or infinity, or a sum is too large for the type of the
            result.

    Example:
        >>> rows = pack(torch.tensor([[True, True, False], [False, True, True]]))
        >>> combine(rows, torch.tensor([[0.25, 0.75]]), 3)
        tensor([[0.2500, 1.0000, 0.7500]])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 3: the superposition of all masks.
    """
    digits, scale = _digits(weights.detach())
    shape = (8, digits.shape[0] * digits.shape[1], packed.shape[1])
    total = torch.zeros(shape, dtype=torch.float64, device=packed.device)
    flat = digits.flatten(0, 1)
    with without_autocast(packed.device):
        for first in range(0, len(packed), _EXACT):
            rows = slice(first, first + _EXACT)
            total += _summed(packed[rows], flat[:, rows])
    by_digit = total.view(8, *digits.shape[:2], -1).transpose(0, 1).flatten(0, 2)
    sums = _rounded(by_digit, scale.repeat(8, 1), weights).reshape(8, len(weights), -1)
    return sums.permute(1, 2, 0).flatten(1)[:, :width].contiguous()


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


def _digits(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (b, n) as float32 whole numbers (digits, b, n), and a power of 2 of each row, (b, 1).

    A value is scale · Σ_d digit_d 2^(-10 - 12 d), and a digit lies within ±2048. How many digits of
    a row are not all 0 depends on that row alone.
    """
    if not bool(torch.isfinite(values).all()):
        raise NumericalError("products need finite numbers: the vectors hold NaN or infinity")
    exact = values if values.dtype == torch.float64 else values.to(torch.float32)
    scale = _powers_below(exact)
    rest = exact / scale.to(exact.dtype) * 2**10  # within ±2048
    allowed = [_ERROR * float(row.abs().sum()) for row in rest]
    digits = [rest.round()]
    rest = rest - digits[0]
    for number in range(1, _DIGITS):
        left = [float(row.norm()) for row in rest]
        short = [size > most for size, most in zip(left, allowed, strict=True)]
        if not any(short):
            break
        wanted = torch.tensor(short, dtype=torch.bool, device=values.device)[:, None]
        digit = torch.where(wanted, (rest * 2.0 ** (12 * number)).round(), 0)
        digits.append(digit)
        rest = rest - digit * 2.0 ** (-12 * number)
    return torch.stack(digits).to(torch.float32), scale


def _powers_below(values: Tensor) -> Tensor:
    """The power of 2 at or below the largest size in each row, (b, 1) float64; 1 for zeros."""
    if values.shape[1] == 0:
        return values.new_ones(len(values), 1, dtype=torch.float64)
    peaks = values.abs().amax(1)
    exponents = torch.frexp(torch.where(peaks > 0, peaks, 1.0)).exponent - 1
    powers = [ldexp(1.0, exponent) for exponent in exponents.tolist()]
    return torch.tensor(powers, dtype=torch.float64, device=values.device)[:, None]


def _rounded(counted: Tensor, scale: Tensor, like: Tensor) -> Tensor:
    """Counts (digits · b, n) put together and scaled, (b, n), in the type of the result."""
    total = torch.zeros_like(counted[: len(scale)])
    for number, part in enumerate(torch.split(counted, len(scale))):
        total = total + part * 2.0 ** (-10 - 12 * number)
    found = (total * scale).to(_result_type(like))
    if not bool(torch.isfinite(found).all()):
        raise NumericalError(
            f"a product is too large for {found.dtype}: scale the numbers down, or give float64"
        )
    return found


def _result_type(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _places(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
