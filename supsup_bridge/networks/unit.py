"""UnitNetwork: one mask bit per hidden unit, the gain of a normalisation."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.networks.fixed import (
    REFERENCE,
    FixedNetwork,
    Predictor,
    check_sizes,
    evenly,
    signed_constant,
)


class UnitNetwork(FixedNetwork):
    """A network whose mask has one bit per hidden unit: y = W ... swish(m ⊙ norm(W x)).

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
        check_sizes(sizes)
        if normalisation not in ("layer", "batch"):
            raise ConfigError(f"normalisation must be 'layer' or 'batch', got {normalisation!r}")
        self.normalisation = normalisation
        self.outputs = sizes[-1]
        self.mask_sizes = {f"hidden{i}": size for i, size in enumerate(sizes[1:-1], 1)}
        self.depth = len(sizes) - 1
        for i, (before, after) in enumerate(pairwise(sizes)):
            self.register_buffer(f"weight{i}", signed_constant((after, before), network))

    @property
    def pointwise(self) -> bool:
        return self.normalisation == "layer"

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        return self._run(images, masks, None, [])

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Predictor:
        if self.normalisation == "layer":
            return super().predictor(masks, reference)
        levels = {name: mask.float() for name, mask in masks.items()}
        statistics: list[tuple[Tensor, Tensor]] = []
        self._run(evenly(reference, REFERENCE), levels, None, statistics)
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
