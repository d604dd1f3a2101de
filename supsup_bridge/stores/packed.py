"""Binary matrices at one bit per entry, and products with them.

Bit j of byte p is entry 8p + j of its row; bits beyond the last entry are 0. Vectors are written as
whole numbers first, whose sums are exact in any order and on any device. So a product depends on
its row and its vector alone, to the bit, and not on what else is in the call.
"""

import logging
from functools import cache
from sys import byteorder
from types import ModuleType

import torch
from torch import Tensor

from hopmask import NumericalError
from supsup_bridge.stores import opened
from supsup_bridge.stores.whole import digits, whole

_TOGETHER = 16  # vectors whose digits are multiplied at a time
_COMPILE = 2**20  # bytes of rows from which on products are compiled, where numba is installed
_log = logging.getLogger(__name__)


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

    Each g_b is rounded to whole numbers r away, √Σr² <= 1e-6 Σ|g| (see `whole`); everything else is
    exact until the result is rounded to its type. So the error, relative to Σ|g|, is about 1e-6 or
    less; masks fitted to r could make it √w times that. Equal rows have equal products, and those
    of a vector do not depend on the others given, nor on the device or the number of threads.

    Where numba is installed (`pip install 'hopmask[fast]'`), products of 1 MiB or more on the CPU
    are compiled, to the same bits; the first one takes some seconds longer (see `compiled.py`).

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
        numbers, fraction, scale = whole(group)
        counted = _counted(packed, numbers)
        found.append(_rounded(counted * fraction * scale, vectors))
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
    numbers, fraction, scale = whole(weights.detach())
    used = numbers.ne(0).any(0)
    if int(used.sum()) < len(used) / 2:
        packed, numbers = packed[used], numbers[:, used]
    parts = digits(numbers, opened.BITS)
    total = opened.sums(packed, torch.cat(parts))
    bytewise = _put_together(total.permute(1, 2, 0), len(parts), opened.BITS)  # (b, P, 8)
    sums = bytewise.flatten(1) * fraction * scale
    return _rounded(sums[:, :width], weights).contiguous()


def _counted(packed: Tensor, numbers: Tensor) -> Tensor:
    """Exact products (b, k) float64 of all rows with whole numbers (b, 8 P)."""
    bits, product = opened.BITS, opened.opened_product
    large = packed.numel() >= _COMPILE and min(packed.shape) >= 8
    if large and packed.device.type == "cpu" and (compiled := _compiled()):
        bits, product = compiled.BITS, compiled.compiled_product
    parts = digits(numbers, bits)
    return _put_together(product(packed, torch.cat(parts)).double(), len(parts), bits)


@cache
def _compiled() -> ModuleType | None:
    """`compiled.py`, which imports numba; None where that cannot be had."""
    if byteorder != "little":
        return None
    try:
        from supsup_bridge.stores import compiled, kernel

        kernel.kernel()
    except Exception as error:  # numba is missing or broken; the other way gives the same bits
        _log.info("products with packed masks are not compiled: %r", error)
        return None
    return compiled


def _put_together(counted: Tensor, parts: int, bits: int) -> Tensor:
    """Counts (parts · b, ...) of digits as those of the whole numbers, (b, ...)."""
    by_place = counted.reshape(parts, len(counted) // parts, *counted.shape[1:])
    total = by_place[0]
    for place in range(1, parts):
        total = total + by_place[place] * 2.0 ** (bits * place)
    return total


def _rounded(exact: Tensor, like: Tensor) -> Tensor:
    """Float64 in the type of the result."""
    found = exact.to(_result_type(like))
    if not bool(torch.isfinite(found).all()):
        raise NumericalError(
            f"a product is too large for {found.dtype}: scale the numbers down, or give float64"
        )
    return found


def _result_type(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _places(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
