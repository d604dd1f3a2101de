"""Products of int8 with int8 in whole numbers, where the processor has an instruction for them."""

from functools import cache

import torch
from torch import Tensor

MOST = 1 << 16  # terms of a sum: 128 · 128 · 2^16 = 2^30 fits into int32


def has_int8_product(device: torch.device) -> bool:
    """Whether `int8_product` is exact and fast on a device: on CPUs with AVX-512 VNNI.

    Public matrix products of int8 keep int8 sums, and floats take four times the bytes and several
    times the time; `torch._int_mm` sums in int32. oneDNN, to which it leads, saturates sums of two
    products in 16 bits on processors without that instruction: so the largest entries are tried.
    """
    return device.type == "cpu" and _tried()


def int8_product(left: Tensor, right: Tensor) -> Tensor:
    """left (m, n) times right (n, k), int8 both, n <= 2^16: int32 (m, k), exact.

    oneDNN takes strides as they are, and leaves the product unwritten where one of a side of
    length 1 is smaller than a row: such strides are made plain.

    Example:
        >>> row = torch.tensor([[127, -128]], dtype=torch.int8)
        >>> int8_product(row, row.T) if has_int8_product(row.device) else row.int() @ row.T.int()
        tensor([[32513]], dtype=torch.int32)

    Source:
        `torch._int_mm`; oneDNN, "Nuances of int8 computations".
    """
    return torch._int_mm(_plain(left), _plain(right))


def _plain(matrix: Tensor) -> Tensor:
    """The same matrix, with the strides of its shape where its entries stand in order."""
    return matrix.view(-1).view(matrix.shape) if matrix.is_contiguous() else matrix


@cache
def _tried() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch
    if not capabilities.get("avx512_vnni"):
        return False
    ends = torch.tensor([[-128], [127]], dtype=torch.int8, device="cpu").expand(2, 256)
    exact = ends.double() @ ends.double().T
    return torch.equal(int8_product(ends.contiguous(), ends.T.contiguous()).double(), exact)
