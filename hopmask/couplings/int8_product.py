"""Products of int8 with int8, where the processor has an instruction for them."""

from functools import cache

import torch
from torch import Tensor

NEAR = 64  # terms, or a multiple, of a sum of `near_product`
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


def has_near_product(device: torch.device) -> bool:
    """Whether `near_product` is right and fast on a device: on CPUs that have `int8_product`."""
    return has_int8_product(device) and _near()


def near_product(matrix: Tensor, key: Tensor) -> Tensor:
    """Rows of an int8 matrix (n, K) times a key (K,) of ±1: float32 (n,).

    K is a multiple of 64, at most 2^16: torch does not check it, and reads beyond rows whose length
    is no multiple of 16.

    Sums are exact, and then rounded to bfloat16, by up to 2⁻⁹ of each: their signs are right, and
    whole numbers up to 256 stay as they are. It took six tenths of the time of `int8_product`,
    which is made for more than one key.

    Example:
        >>> rows, key = torch.arange(128).view(2, 64), torch.tensor([1, -1]).repeat(32)
        >>> has = has_near_product(rows.device)
        >>> near_product(rows.char(), key.char()) if has else (rows @ key).float()
        tensor([-32., -32.])

    Source:
        `torch._weight_int8pack_mm`, made for weights of 8 bits.
    """
    ones = torch.ones(len(matrix), dtype=torch.bfloat16, device=matrix.device)
    found = torch._weight_int8pack_mm(key[None].to(torch.bfloat16), matrix, ones)
    return found[0].to(torch.float32)


def _plain(matrix: Tensor) -> Tensor:
    """The same matrix, with the strides of its shape where its entries stand in order."""
    return matrix.view(-1).view(matrix.shape) if matrix.is_contiguous() else matrix


@cache
def _near() -> bool:
    """Whether sums are rounded only at the end, tried where they are largest and cancel out."""
    if not hasattr(torch, "_weight_int8pack_mm"):  # older torch
        return False
    ends = torch.tensor([[-128, 127], [127, 127]], dtype=torch.int8, device="cpu")
    rows = torch.cat([ends.repeat(1, MOST // 2), torch.eye(2, MOST, device="cpu").char()])
    key = torch.tensor([1, -1], dtype=torch.int8, device="cpu").repeat(MOST // 2)
    exact = rows.double() @ key.double()
    return torch.equal(near_product(rows, key), exact.bfloat16().float())


@cache
def _tried() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch
    if not capabilities.get("avx512_vnni"):
        return False
    ends = torch.tensor([[-128], [127]], dtype=torch.int8, device="cpu").expand(2, 256)
    exact = ends.double() @ ends.double().T
    return torch.equal(int8_product(ends.contiguous(), ends.T.contiguous()).double(), exact)
