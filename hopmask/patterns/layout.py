"""Layout: where the key and each layer's mask lie in one joint ±1 vector."""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from hopmask._checks import index_or_none, is_tensor, kind_of
from hopmask.errors import ConfigError, CueError, MaskError, unknown_name
from hopmask.patterns.spins import check_mask, to_bits, to_spins

Masks = dict[str, Tensor]
Size = int | tuple[int, ...]


class Layout:
    """The joint vector [key | layer 1 | layer 2 ...] and what may be put into it.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask.
        head: key bits.

    Raises:
        ConfigError: sizes that nothing can be built from.

    Example:
        >>> Layout({"h": (2, 3)}, head=4).size
        10
    """

    def __init__(self, sizes: Mapping[str, Size], *, head: int) -> None:
        self.shapes = _shapes(sizes)
        self.layers: dict[str, slice] = {}
        self.size = head
        for name, shape in self.shapes.items():
            self.layers[name] = slice(self.size, self.size + prod(shape))
            self.size += prod(shape)
        self.body = slice(head, self.size)

    def join(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Masks of all layers as one ±1 float32 vector (body,); MaskError where they do not fit."""
        return torch.cat(
            [to_spins(masks[name], name=f"mask '{name}'") for name in self._checked(masks)]
        )

    def bits(self, masks: Mapping[str, Tensor]) -> Tensor:
        """The same as bool (body,)."""
        return torch.cat(
            [to_bits(masks[name], name=f"mask '{name}'") for name in self._checked(masks)]
        )

    def _checked(self, masks: Mapping[str, Tensor]) -> list[str]:
        """Names of the layers, whose masks are there and of the right shapes."""
        if not isinstance(masks, Mapping):
            raise MaskError(f"masks must map layer names to masks, got {type(masks).__name__}")
        for name in masks:
            self._known(name, MaskError)
        for name, shape in self.shapes.items():
            if name not in masks:
                raise MaskError(f"mask '{name}' is missing: the memory holds {list(self.shapes)}")
            check_mask(masks[name], name=f"mask '{name}'")
            if tuple(masks[name].shape) != shape:
                raise MaskError(
                    f"mask '{name}' has shape {tuple(masks[name].shape)}, the memory holds "
                    f"{shape}: build the memory with {{'{name}': {tuple(masks[name].shape)}}}"
                )
        return list(self.shapes)

    def split(self, levels: Tensor) -> Masks:
        """Joint levels (..., d) as name -> (..., *shape).

        Cut in one operation: a gradient through slices would be added up from one of the whole
        length for each layer. What comes out may be changed in place, and the levels with it.
        """
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = torch.unsafe_split_with_sizes(levels[..., self.body], sizes, -1)
        return {
            name: part.reshape(*levels.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def levels(self, cue: Mapping[str, Tensor]) -> list[tuple[slice, Tensor]]:
        """A damaged or partial mask as (where, spins in [-1, 1]); CueError if it says nothing."""
        if not isinstance(cue, Mapping) or not cue:
            raise CueError(
                f"the cue names no layer: give at least one with its values, got {cue!r}"
            )
        for name in cue:
            self._known(name, CueError)
        parts = []
        for name, value in cue.items():
            shape = self.shapes[name]
            real = is_tensor(value) and not value.is_complex()
            fits = real and len(shape) <= value.ndim <= len(shape) + 1
            if not fits or tuple(value.shape[-len(shape) :]) != shape:
                came = tuple(value.shape) if real else kind_of(value)
                raise CueError(f"cue '{name}' must have shape {shape} or (batch, ...), got {came}")
            level = value.detach().float().flatten(-len(shape))
            if not bool(((level >= 0) & (level <= 1)).all()):
                raise CueError(f"cue '{name}' must lie in [0, 1] (0.5 = unknown), got other values")
            parts.append((self.layers[name], 2 * level - 1))
        if len({len(part) for _, part in parts if part.ndim == 2}) > 1:
            raise CueError("the layers of a cue must have one batch size")
        informed = [((part != -1).any(-1), (part != 0).any(-1)) for _, part in parts]
        for row, what in ((0, "all zeros"), (1, "0.5 everywhere")):
            known = informed[0][row]
            for flags in informed[1:]:
                known = known | flags[row]
            if not bool(known.all()):
                raise CueError(
                    f"the cue is {what}: it names no memory. Give at least one bit that is set, "
                    "and 0.5 where a bit is unknown"
                )
        return parts

    def _known(self, name: str, error: type[CueError] | type[MaskError]) -> None:
        if name not in self.shapes:
            raise error(unknown_name("layer", name, self.shapes))


def _shapes(sizes: Mapping[str, Size]) -> dict[str, tuple[int, ...]]:
    if not isinstance(sizes, Mapping) or not sizes:
        raise ConfigError(f"sizes must map names to sizes, such as {{'h': 512}}, got {sizes!r}")
    shapes = {}
    for name, size in sizes.items():
        sides = tuple(size) if isinstance(size, tuple | list) else (size,)
        shape = tuple(side for side in map(index_or_none, sides) if side is not None)
        if (
            not isinstance(name, str)
            or not name
            or not shape
            or len(shape) != len(sides)
            or min(shape) < 1
        ):
            raise ConfigError(
                f"layer {name!r} needs a name and a positive size or shape, got {size!r}"
            )
        shapes[name] = shape
    return shapes
