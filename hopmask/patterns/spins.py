"""Masks (bool or {0, 1}, any shape) and spins (±1 vectors): the two faces of one pattern."""

import torch
from torch import Tensor

from hopmask._checks import is_tensor, kind_of
from hopmask.errors import MaskError


def to_spins(mask: Tensor, *, dtype: torch.dtype = torch.float32, name: str = "mask") -> Tensor:
    """Turn a mask into a spin vector.

    z = 2m − 1, flattened in row-major order.

    Args:
        mask: bool, or a number type holding only 0 and 1; any shape with at least one element.
        dtype: floating type of the result.
        name: what to call the mask in an error.

    Returns:
        ±1, shape (mask.numel(),), on the mask's device.

    Raises:
        MaskError: not a tensor, empty, complex, or any value other than 0 and 1 (NaN included).

    Example:
        >>> to_spins(torch.tensor([[True, False]]))
        tensor([ 1., -1.])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5: z = 2m − 1.
    """
    check_mask(mask, name=name)
    return mask.detach().reshape(-1).to(dtype).mul(2).sub_(1)


def to_bits(mask: Tensor, *, name: str = "mask") -> Tensor:
    """A mask as flat bool (mask.numel(),); MaskError as in `to_spins`."""
    check_mask(mask, name=name)
    return mask.detach().reshape(-1).bool()


def check_mask(mask: Tensor, *, name: str = "mask") -> None:
    """Raise MaskError unless a mask is a tensor of bool, or of 0 and 1, with an element or more."""
    if not is_tensor(mask):
        raise MaskError(
            f"{name} must be a dense torch.Tensor, got {kind_of(mask)}: "
            "convert it with torch.as_tensor(...), or a sparse one with .to_dense()"
        )
    if mask.numel() == 0:
        raise MaskError(f"{name} is empty (shape {tuple(mask.shape)}): a mask has at least one bit")
    if mask.dtype != torch.bool:
        wrong = mask[(mask != 0) & (mask != 1)]
        if mask.is_complex() or wrong.numel():
            came = wrong.flatten()[0].item() if wrong.numel() else mask.dtype
            raise MaskError(
                f"{name} must be bool or hold only 0 and 1, got {came}: "
                "binarise it first, for example scores >= 0"
            )


def to_mask(spins: Tensor, shape: tuple[int, ...] | None = None, *, name: str = "spins") -> Tensor:
    """Turn a spin vector back into a bool mask.

    m = (z > 0).

    Args:
        spins: ±1, shape (..., d).
        shape: shape of one mask, prod(shape) = d; (d,) if not given.
        name: what to call the spins in an error.

    Returns:
        bool, shape (..., *shape), on the spins' device.

    Raises:
        MaskError: a value other than ±1, or a shape of another size.

    Example:
        >>> to_mask(torch.tensor([1.0, -1.0]), (2, 1))
        tensor([[ True],
                [False]])

    Source:
        The inverse of `to_spins`.
    """
    check_spins(spins, name=name)
    target = (spins.shape[-1],) if shape is None else tuple(shape)
    if torch.Size(target).numel() != spins.shape[-1]:
        raise MaskError(
            f"{name} has {spins.shape[-1]} spins, shape {target} needs {torch.Size(target).numel()}"
        )
    return (spins > 0).reshape(*spins.shape[:-1], *target)


def check_spins(spins: Tensor, *, size: int | None = None, name: str = "spins") -> None:
    """Raise MaskError unless `spins` is a floating or integer tensor of ±1, (..., size)."""
    if not is_tensor(spins):
        raise MaskError(f"{name} must be a dense torch.Tensor, got {kind_of(spins)}")
    if spins.ndim == 0 or spins.numel() == 0:
        raise MaskError(f"{name} must have shape (d,) or (k, d), got {tuple(spins.shape)}")
    if size is not None and spins.shape[-1] != size:
        raise MaskError(
            f"{name} has {spins.shape[-1]} spins, the reservoir holds {size}: "
            f"build it with Reservoir({spins.shape[-1]})"
        )
    odd = spins.dtype == torch.bool or spins.is_complex()
    if odd or not bool((spins.abs() == 1).all()):
        raise MaskError(
            f"{name} must hold only -1 and +1, got dtype {spins.dtype} with other values: "
            "turn a {0, 1} mask into spins with to_spins(mask)"
        )


def sign(field: Tensor, state: Tensor) -> Tensor:
    """Sign of the field; where the field is exactly 0 the spin stays as it is."""
    return torch.where(field == 0, state, field).sign()
