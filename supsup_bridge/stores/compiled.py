"""Products of packed bits with whole numbers, compiled by numba.

16 bits choose among 16 whole numbers of 32 bits, which are added at once: one instruction on
processors with AVX-512, a few elsewhere. No bit is opened, and 8 rows share each load of numbers.

Importing this file imports numba (`pip install 'hopmask[fast]'`), and the first product compiles.
That takes some seconds once on a machine: numba keeps the code in its cache (`NUMBA_CACHE_DIR`,
else beside `kernel.py` or in the user's cache folder), from which later processes read it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supsup_bridge.stores.kernel import LANES, ROWS, kernel

BITS = 24  # of a whole number, with its sign


def compiled_product(packed: Tensor, numbers: Tensor) -> Tensor:
    """Exact products Σ_w m_iw q_bw, on `torch.get_num_threads()` threads.

    Args:
        packed: uint8, (k, P), on the CPU: k >= 8 rows of P >= 2 bytes.
        numbers: q, float, (b, 8 P): whole, |q| <= 2^23.

    Returns:
        int64, (b, k).

    Example:
        >>> rows = torch.full((8, 2), 3, dtype=torch.uint8)
        >>> numbers = torch.arange(16.0)[None] + 1
        >>> compiled_product(rows, numbers)[0, 7]  # 1 + 2 + 9 + 10
        tensor(22)
    """
    rows = packed.contiguous().numpy()
    found = np.empty((len(numbers), len(rows)), np.int64)
    add, parts = kernel(), [_lanes(vector) for vector in numbers.to(torch.int32)]
    firsts = np.arange(0, len(rows), ROWS)
    firsts[-1] = len(rows) - ROWS  # the last eight may be done twice

    def work(some: NDArray[np.int64]) -> None:
        for (places, lanes), products in zip(parts, found, strict=True):
            add(rows, some, places, lanes, products)

    shares = np.array_split(firsts, min(len(firsts), torch.get_num_threads()))
    if len(shares) == 1:
        work(firsts)
    else:
        with ThreadPoolExecutor(len(shares)) as threads:
            list(threads.map(work, shares))
    return torch.from_numpy(found)


def _lanes(vector: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Places (n,) of two bytes each in a row, and their numbers (n, 16), where not all are 0."""
    size = len(vector) // 8
    lanes = vector[: 8 * (size & ~1)].view(-1, LANES)
    places = 2 * torch.arange(len(lanes), device="cpu")
    if size % 2:  # the last byte, together with the one before, whose numbers are done already
        last = torch.cat([vector.new_zeros(8), vector[-8:]])
        lanes, places = torch.cat([lanes, last[None]]), torch.cat([places, places[-1:] + 1])
    live = lanes.view(torch.int64).ne(0).any(1)  # two at a time
    return places[live].numpy(), lanes[live].numpy()
