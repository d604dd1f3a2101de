"""Binary matrices at one bit an entry, and products with them.

Bit j of byte p is entry 8p + j of its row; bits beyond the last entry are 0. A product opens one
block at a time: B & 2^j takes bit j of every byte of a block B, with the values 0 and 2^j, and the
factor 2^j is taken out again afterwards. No float copy of a whole matrix is ever made.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hopmask import NumericalError

_DIGITS = (10 * 2**20, 8192)  # bytes of an open block, and of a row in it at least: for integers
_FLOATS = (2**18, 1024)  # and for floats
_WIDEST = 2**17  # bytes of a row at most: 2^17 · 63 · 128 fits into int32
_FEW = 8  # vectors up to which digits cost less than floats
_GAP = 64  # bytes without a weight that are worth leaving out
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

    On a CPU and for few vectors, g is written in fixed point: integer digits of at most ±63, each
    with a step of its own for a tile of g, are multiplied with the bits in exact integers. A tile
    gets as many digits as it needs for a remainder r with √Σr² <= 1e-6 Σ|g| over all tiles; digits
    after the first are rounded with a fixed dither, so that the r of equal g cancel. Parts of g
    that are zero cost nothing. Otherwise blocks of bits become floats. The error of a product,
    relative to Σ|g|, is about 1e-6 or less in both ways; masks fitted to the remainders could make
    it √w times that.

    Args:
        packed: uint8, (k, ⌈w/8⌉), from `pack`.
        vectors: float, (b, w), on the same device.

    Returns:
        float32, (b, k).

    Raises:
        NumericalError: the vectors hold NaN or infinity.

    Example:
        >>> rows = pack(torch.tensor([[True, True, False], [False, True, True]]))
        >>> products(rows, torch.tensor([[1.0, 2.0, 4.0]]))
        tensor([[3., 6.]])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 4: the gradient by α_i is ⟨g, M_i⟩.
    """
    numbers = vectors.detach().float()
    if not bool(torch.isfinite(numbers).all()):
        raise NumericalError("the vectors hold NaN or infinity: products need finite numbers")
    rows, size = packed.shape
    if rows == 0 or len(vectors) == 0:
        return vectors.new_zeros(len(vectors), rows, dtype=torch.float32)
    scale = _power_below(numbers.abs().amax(1, keepdim=True))
    padded = torch.nn.functional.pad(numbers / scale, (0, 8 * size - numbers.shape[1]))
    planes = padded.view(-1, size, 8).permute(2, 0, 1).contiguous()  # (8, b, P)
    few = packed.device.type == "cpu" and len(vectors) <= _FEW
    sums = _by_digits(packed, planes) if few else _by_floats(packed, planes)
    return (sums * scale).float()


def combine(packed: Tensor, weights: Tensor, width: int) -> Tensor:
    """Weighted sums of the rows, Σ_i α_bi m_i.

    Args:
        packed: uint8, (k, ⌈width/8⌉), from `pack`.
        weights: α, float, (b, k), on the same device.
        width: entries of a row.

    Returns:
        float32, (b, width).

    Raises:
        NumericalError: the weights hold NaN or infinity.

    Example:
        >>> rows = pack(torch.tensor([[True, True, False], [False, True, True]]))
        >>> combine(rows, torch.tensor([[0.25, 0.75]]), 3)
        tensor([[0.2500, 1.0000, 0.7500]])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 3: the superposition of all masks.
    """
    if not bool(torch.isfinite(weights).all()):
        raise NumericalError("the weights hold NaN or infinity: a superposition needs finite ones")
    alphas = weights.detach().float()
    sums = alphas.new_zeros(8, len(weights), packed.shape[1])
    for tile in _tiles(packed, _FLOATS):
        for rows in _rows(packed, tile, _FLOATS):
            for j in range(8):
                plane = (packed[rows, tile] & 1 << j).float()
                sums[j, :, tile] += alphas[:, rows] @ plane / 2**j
    return sums.permute(1, 2, 0).flatten(1)[:, :width].contiguous()


def _by_floats(packed: Tensor, planes: Tensor) -> Tensor:
    """Products (b, k) float64 with vectors (8, b, P), by float matrix products."""
    sums = torch.zeros(len(packed), planes.shape[1], dtype=torch.float64, device=packed.device)
    for tile in _tiles(packed, _FLOATS):
        for rows in _rows(packed, tile, _FLOATS):
            for j in range(8):
                plane = (packed[rows, tile] & 1 << j).float()
                sums[rows] += plane @ planes[j, :, tile].T / 2**j
    return sums.T


def _by_digits(packed: Tensor, planes: Tensor) -> Tensor:
    """Products (b, k) float64 with vectors (8, b, P), by integer digits of the vectors."""
    sums = torch.zeros(planes.shape[1], len(packed), dtype=torch.float64)
    allowed = (_ERROR * planes.abs().sum((0, 2), dtype=torch.float64)) ** 2 / packed.shape[1]
    buffer = torch.empty(max(_DIGITS), dtype=torch.uint8)
    for tile in _tiles(packed, _DIGITS):
        runs = _runs(planes[..., tile].any(0).any(0), tile.start)
        if not runs:
            continue
        live = torch.cat([planes[..., run] for run in runs], -1)  # (8, b, n)
        width = live.shape[-1]
        digits = [
            (vector, digit, step)
            for vector, bound in enumerate(allowed.tolist())
            for digit, step in _digits(live[:, vector], bound * width)
        ]
        for rows in _rows(packed, tile, _DIGITS):
            parts = [packed[rows, run] for run in runs]
            part = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            plane = buffer[: part.numel()].view(part.shape)
            for j, place in enumerate(_places(packed.device, powers=True)):
                torch.bitwise_and(part, place, out=plane)
                value = 2**j if j < 7 else -128  # of the bit, read as int8
                for vector, digit, step in digits:
                    sums[vector, rows].add_(
                        torch._int_mm(plane.view(torch.int8), digit[j, :, None])[:, 0],
                        alpha=step / value,
                    )
    return sums


def _digits(numbers: Tensor, allowed: float) -> Iterator[tuple[Tensor, float]]:
    """Digits (int8, within ±63) and their steps, until Σ remainder² <= allowed."""
    rest = numbers
    dither: Tensor | float = 0.0
    while float(rest.square().sum()) > allowed:
        step = float(rest.abs().max()) / 62
        digit = (rest / step + dither).round_()
        yield digit.to(torch.int8), step
        rest = rest - digit * step
        golden = torch.arange(rest.numel(), dtype=torch.int32) * -1640531527  # 2^32 / φ, wrapping
        dither = (golden.float() / 2**32).view(rest.shape)  # even in [-1/2, 1/2]


def _runs(live: Tensor, start: int) -> list[slice]:
    """Where bytes are needed; gaps that are too short to be worth it are filled."""
    places = live.nonzero()[:, 0]
    if len(places) == 0:
        return []
    ends = (places.diff() > _GAP).nonzero()[:, 0]
    first = torch.cat([places[:1], places[ends + 1]]) + start
    last = torch.cat([places[ends], places[-1:]]) + start
    return [slice(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True)]


def _tiles(packed: Tensor, block: tuple[int, int]) -> Iterator[slice]:
    """Bytes of a row that are taken at a time: the more, the fewer rows there are."""
    rows, size = packed.shape
    width = min(max(block[0] // max(rows, 1), block[1]), _WIDEST)
    return (slice(start, min(start + width, size)) for start in range(0, size, width))


def _rows(packed: Tensor, tile: slice, block: tuple[int, int]) -> Iterator[slice]:
    """Rows that are taken at a time with the bytes of `tile`."""
    count = max(block[0] // (tile.stop - tile.start), 1)
    return (slice(start, start + count) for start in range(0, len(packed), count))


def _places(device: torch.device, *, powers: bool = False) -> Tensor:
    """0 ... 7, or 2^0 ... 2^7, as uint8."""
    places = torch.arange(8, dtype=torch.uint8, device=device)
    return torch.ones_like(places) << places if powers else places


def _power_below(peaks: Tensor) -> Tensor:
    """The power of 2 at or just below each number; 1 for 0. Division by it is exact."""
    return torch.where(peaks > 0, peaks, 1.0).double().log2().floor().exp2().float()
