"""Mask codes: what one bit of a mask switches on and off in a network's layers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import accumulate, pairwise
from math import prod, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.networks.fixed import Size

Layers = Mapping[str, "nn.Linear | nn.Conv2d"]


class MaskCode(nn.Module, ABC):
    """Turns masks into the masked parameters W ⊙ M of a module's layers.

    Attributes:
        sizes: name of each mask -> number of bits, or shape.
        bounds: name of each mask -> the scores it is trained from start within ± this.
    """

    sizes: dict[str, Size]
    bounds: dict[str, float]

    @abstractmethod
    def masked(self, layers: Layers, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name of each masked parameter -> its value, with the batch dimension of the levels."""


class WeightCode(MaskCode):
    """One bit per weight: W ⊙ M.

    Example:
        >>> WeightCode({"fc": nn.Linear(3, 2)}).sizes
        {'fc': (2, 3)}

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 1. The scores' start, Kaiming-uniform with
        a = √5, lies within ±1/√fan_in.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.sizes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}
        self.bounds = {n: 1 / sqrt(prod(layer.weight.shape[1:])) for n, layer in layers.items()}

    def masked(self, layers: Layers, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            parameter(name, "weight"): layer.weight * levels[name] for name, layer in layers.items()
        }


class SignedCode(WeightCode):
    """One bit per weight that keeps its sign or flips it: W ⊙ (2M − 1). Every weight is used.

    The levels m = ½ of all masks are the network of zeros.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> code = SignedCode({"fc": layer})
        >>> masked = code.masked({"fc": layer}, {"fc": torch.tensor([[True, False]])})
        >>> torch.equal(masked["fc.weight"], layer.weight * torch.tensor([1.0, -1.0]))
        True

    Source:
        Koster et al. 2022 (arXiv 2201.13361), "Signing the Supermask", whose masks of {−1, 0, 1}
        come from two thresholds; here no weight is left out, so that a bit is enough.
    """

    off: Tensor

    def __init__(self, layers: Layers) -> None:
        super().__init__(layers)
        # what a weight is multiplied by where its bit is 0; part of the network's fingerprint
        device = next(iter(layers.values())).weight.device
        self.register_buffer("off", torch.tensor(-1.0, dtype=torch.float32, device=device))

    def masked(self, layers: Layers, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        factors = {name: self.off + (1 - self.off) * level for name, level in levels.items()}
        return super().masked(layers, factors)


class UnitCode(MaskCode):
    """One bit per unit or channel of each layer but the last: the row of W and the bias.

    Example:
        >>> UnitCode({"fc": nn.Linear(3, 2), "out": nn.Linear(2, 2)}).sizes
        {'fc': 2}

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 5.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        hidden = list(layers)[:-1]
        if not hidden:
            raise ConfigError(
                "unit masks need a hidden layer, but the module has one Linear or Conv2d alone: "
                "use weight masks"
            )
        self.sizes = {name: len(layers[name].weight) for name in hidden}
        self.bounds = dict.fromkeys(hidden, _BOUND)

    def masked(self, layers: Layers, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = {}
        for name in self.sizes:
            weight, bias = layers[name].weight, layers[name].bias
            level = levels[name]
            rows = level.reshape(*level.shape, *(1,) * (weight.ndim - 1))
            values[parameter(name, "weight")] = weight * rows
            if bias is not None:
                values[parameter(name, "bias")] = bias * level
        return values


class HashedCode(MaskCode):
    """One mask of `bits` for all weights, which share its bits by a fixed random map.

    M_ij = (1 + s_ij z_h(ij)) / 2 with z = 2m − 1: a random bit h for each weight (every bit serves
    equally many) and a random sign s, so that half of the weights are always on. The mask has the
    grain of weights and the length of `bits`.

    Args:
        layers: the layers, in order.
        bits: length of the mask.
        spread: generator of the map (h, s); unrelated to that of the weights.

    Raises:
        ConfigError: bits outside 1 .. number of weights.

    Example:
        >>> HashedCode({"fc": nn.Linear(3, 2)}, bits=4, spread=torch.Generator()).sizes
        {'bits': 4}

    Source:
        Weight sharing by hashing: Chen et al. 2015 (arXiv 1504.04788); here masks are shared.
    """

    offset: Tensor
    swing: Tensor
    bit_of: Tensor
    order: Tensor

    def __init__(self, layers: Layers, *, bits: int, spread: torch.Generator) -> None:
        super().__init__()
        weights = torch.cat([layer.weight.detach().flatten() for layer in layers.values()])
        count = len(weights)
        if not 1 <= bits <= count:
            raise ConfigError(f"bits must lie between 1 and the {count} weights, got {bits}")
        self.sizes = {"bits": bits}
        self.bounds = {"bits": _BOUND}
        ends = accumulate((layer.weight.numel() for layer in layers.values()), initial=0)
        self.slices = dict(zip(layers, (slice(a, b) for a, b in pairwise(ends)), strict=True))
        where = spread.device
        bit_of = torch.randperm(count, generator=spread, dtype=torch.int64, device=where) % bits
        each = -(-count // bits)  # weights of a bit; some bits have one fewer
        # row j: the weights of bit j, then padding
        order = torch.full((bits * each,), count, dtype=torch.int64, device=where)
        by_bit = torch.argsort(bit_of, stable=True)
        load = torch.bincount(bit_of, minlength=bits)
        place = torch.arange(count, device=where) - (load.cumsum(0) - load)[bit_of[by_bit]]
        order[bit_of[by_bit] * each + place] = by_bit
        drawn = torch.randint(0, 2, (count,), generator=spread, dtype=torch.int64, device=where)
        signs = (drawn * 2 - 1).to(weights)
        self.register_buffer("offset", weights / 2)
        self.register_buffer("swing", weights * signs / 2)
        self.register_buffer("bit_of", bit_of.to(weights.device))
        self.register_buffer("order", order.to(weights.device))

    def masked(self, layers: Layers, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        spins = 2 * levels["bits"] - 1
        spread: Tensor = _Spread.apply(spins, self.bit_of, self.order)  # type: ignore[no-untyped-call]
        flat = self.offset + self.swing * spread  # (..., weights)
        return {
            parameter(name, "weight"): flat[..., where].reshape(
                *flat.shape[:-1], *layers[name].weight.shape
            )
            for name, where in self.slices.items()
        }


class _Spread(torch.autograd.Function):
    """z[..., h] with a backward pass that gathers and sums instead of scattering."""

    @staticmethod
    def forward(ctx: Any, spins: Tensor, bit_of: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        ctx.bits = spins.shape[-1]
        return spins[..., bit_of]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (order,) = ctx.saved_tensors
        padded = F.pad(grads[0], (0, 1))
        return padded[..., order].reshape(*padded.shape[:-1], ctx.bits, -1).sum(-1), None, None


_BOUND = 0.1  # of the starting scores of masks whose bits are no weights


def parameter(layer: str, kind: str) -> str:
    """Qualified name of a layer's weight or bias; the layer named "" is the module itself."""
    return f"{layer}.{kind}" if layer else kind
