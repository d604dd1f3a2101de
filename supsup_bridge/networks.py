"""Fixed random networks whose only freedom is a mask.

Weights are the signed Kaiming constant: biases 0, each weight ±√(2/fan_in) with equal chance, so a
network costs one seed. Masks enter as levels m in [0, 1]; binary masks are m in {0, 1}.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopmask import ConfigError

Predictor = Callable[[Tensor], Tensor]


class FixedNetwork(nn.Module, ABC):
    """A network f(x, W ⊙ M) that owns W and is given M.

    Attributes:
        mask_sizes: name of each mask -> number of bits.
        outputs: output units, superfluous ones included.

    Example:
        >>> class Linear(FixedNetwork):
        ...     mask_sizes, outputs = {"rows": 3}, 3
        ...     def forward(self, images, masks):
        ...         return images.sum(-1, keepdim=True) * masks["rows"][..., None, :]
        >>> Linear()(torch.ones(2, 4), {"rows": torch.ones(3)}).shape
        torch.Size([2, 3])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 1.
    """

    mask_sizes: dict[str, int]
    outputs: int

    @abstractmethod
    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Logits.

        Args:
            images: (n, inputs), or (b, n, inputs) for b masks at once.
            masks: name -> levels in [0, 1], (bits,) or (b, bits).

        Returns:
            (n, outputs) or (b, n, outputs).
        """

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Predictor:
        """Images (n, inputs) -> logits (n, outputs), each image for itself.

        Args:
            masks: binary masks, name -> (bits,).
            reference: images (n, inputs) that are not scored, for networks that need statistics.
        """
        levels = {name: mask.float() for name, mask in masks.items()}
        return lambda images: self.forward(images, levels)


def signed_constant(fan_out: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """Weights ±√(2/fan_in), (fan_out, fan_in).

    Example:
        >>> w = signed_constant(3, 2, torch.Generator().manual_seed(0))
        >>> w.abs().unique()
        tensor([1.])

    Source:
        Ramanujan et al. 2020 (arXiv 1911.13299), "signed Kaiming constant"; SupSup, section 3.
    """
    signs = torch.randint(0, 2, (fan_out, fan_in), generator=generator)
    return (signs * 2 - 1) * sqrt(2 / fan_in)


class HashedNetwork(FixedNetwork):
    """A ReLU network whose weights share the bits of one mask by a fixed random map.

    M_ij = (1 + s_ij z_h(ij)) / 2 with z = 2m − 1: a random bit h for each weight (every bit serves
    equally many) and a random sign s, so that half of the weights are always on. The mask has the
    grain of weights and the length of `bits`.

    Args:
        sizes: units of each layer, inputs first.
        bits: length of the mask.
        network: generator of the weights.
        spread: generator of the map (h, s); unrelated to `network`.

    Raises:
        ConfigError: sizes or bits that nothing can be built from.

    Example:
        >>> g = torch.Generator()
        >>> network = HashedNetwork([4, 8, 3], bits=16, network=g.manual_seed(0), spread=g)
        >>> network(torch.ones(2, 4), {"bits": torch.ones(16)}).shape
        torch.Size([2, 3])

    Source:
        Weight sharing by hashing: Chen et al. 2015 (arXiv 1504.04788); here masks are shared.
    """

    offset: Tensor
    swing: Tensor
    bit_of: Tensor
    order: Tensor

    def __init__(
        self, sizes: Sequence[int], *, bits: int, network: torch.Generator, spread: torch.Generator
    ) -> None:
        super().__init__()
        _check_sizes(sizes)
        self.shapes = [(after, before) for before, after in pairwise(sizes)]
        count = sum(after * before for after, before in self.shapes)
        if not 1 <= bits <= count:
            raise ConfigError(f"bits must lie between 1 and the {count} weights, got {bits}")
        self.outputs = sizes[-1]
        self.mask_sizes = {"bits": bits}
        weights = torch.cat([signed_constant(*s, network).flatten() for s in self.shapes])
        bit_of = torch.randperm(count, generator=spread) % bits
        each = -(-count // bits)  # weights of a bit; some bits have one fewer
        order = torch.full((bits * each,), count)  # row j: the weights of bit j, then padding
        by_bit = torch.argsort(bit_of, stable=True)
        load = torch.bincount(bit_of, minlength=bits)
        place = torch.arange(count) - (load.cumsum(0) - load)[bit_of[by_bit]]
        order[bit_of[by_bit] * each + place] = by_bit
        signs = torch.randint(0, 2, (count,), generator=spread) * 2 - 1
        self.register_buffer("offset", weights / 2)
        self.register_buffer("swing", weights * signs / 2)
        self.register_buffer("bit_of", bit_of)
        self.register_buffer("order", order)

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        spins = 2 * masks["bits"] - 1
        spread: Tensor = _Spread.apply(spins, self.bit_of, self.order)  # type: ignore[no-untyped-call]
        flat = self.offset + self.swing * spread  # (..., weights)
        hidden, start = images, 0
        for layer, (after, before) in enumerate(self.shapes):
            weight = flat[..., start : start + after * before]
            start += after * before
            if layer:
                hidden = F.relu(hidden)
            hidden = hidden @ weight.reshape(*weight.shape[:-1], after, before).mT
        return hidden


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


class UnitNetwork(FixedNetwork):
    """A network whose mask has one bit a hidden unit: y = W ... swish(m ⊙ norm(W x)).

    The mask is the gain of a normalisation without affine part. Layer normalisation, the default,
    needs no batch. Batch normalisation is the paper's: its statistics come from the images given
    (training, recall), and for predictions from `reference` images, never from scored ones.

    Args:
        sizes: units of each layer, inputs first.
        network: generator of the weights.
        normalisation: "layer" or "batch".

    Raises:
        ConfigError: sizes or a normalisation that nothing can be built from.

    Example:
        >>> network = UnitNetwork([4, 8, 3], network=torch.Generator().manual_seed(0))
        >>> network.mask_sizes
        {'hidden1': 8}

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eq. 5 and the appendix on HopSupSup.
    """

    def __init__(
        self, sizes: Sequence[int], *, network: torch.Generator, normalisation: str = "layer"
    ) -> None:
        super().__init__()
        _check_sizes(sizes)
        if normalisation not in ("layer", "batch"):
            raise ConfigError(f"normalisation must be 'layer' or 'batch', got {normalisation!r}")
        self.normalisation = normalisation
        self.outputs = sizes[-1]
        self.mask_sizes = {f"hidden{i}": size for i, size in enumerate(sizes[1:-1], 1)}
        self.depth = len(sizes) - 1
        for i, (before, after) in enumerate(pairwise(sizes)):
            self.register_buffer(f"weight{i}", signed_constant(after, before, network))

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        return self._run(images, masks, None, [])

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Predictor:
        if self.normalisation == "layer":
            return super().predictor(masks, reference)
        levels = {name: mask.float() for name, mask in masks.items()}
        statistics: list[tuple[Tensor, Tensor]] = []
        self._run(reference, levels, None, statistics)
        return lambda images: self._run(images, levels, statistics, [])

    def _run(
        self,
        images: Tensor,
        masks: Mapping[str, Tensor],
        given: list[tuple[Tensor, Tensor]] | None,
        seen: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Forward pass; batch statistics are those `given`, or the images' own, put into `seen`."""
        hidden = images
        for i in range(self.depth):
            hidden = hidden @ self.get_buffer(f"weight{i}").mT
            if i == self.depth - 1:
                break
            if self.normalisation == "layer":
                hidden = F.layer_norm(hidden, hidden.shape[-1:])
            else:
                if given is None:
                    variance, mean = torch.var_mean(hidden, -2, correction=0, keepdim=True)
                    seen.append((mean, variance))
                else:
                    mean, variance = given[i]
                hidden = (hidden - mean) * (variance + 1e-5).rsqrt()
            hidden = F.silu(hidden * masks[f"hidden{i + 1}"][..., None, :])
        return hidden


def _check_sizes(sizes: Sequence[int]) -> None:
    if len(sizes) < 3 or any(not isinstance(s, int) or s < 1 for s in sizes):
        raise ConfigError(
            f"sizes must be inputs, at least one hidden layer and outputs, got {list(sizes)}"
        )
