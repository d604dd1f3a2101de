"""Fixed random networks whose only freedom is a mask.

Weights are the signed Kaiming constant: biases 0, each weight ±√(2/fan_in) with equal chance, so a
network costs one seed. Masks enter as levels m in [0, 1]; binary masks are m in {0, 1}.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod, sqrt

import torch
from torch import Tensor, nn

from hopmask import ConfigError

Predictor = Callable[[Tensor], Tensor]
Size = int | tuple[int, ...]
Masks = dict[str, Tensor]


class FixedNetwork(nn.Module, ABC):
    """A network f(x, W ⊙ M) that owns W and is given M.

    Attributes:
        mask_sizes: name of each mask -> number of bits, or shape.
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

    mask_sizes: dict[str, Size]
    outputs: int

    @property
    def pointwise(self) -> bool:
        """Whether an image's logits never depend on the other images given with it."""
        return True

    @property
    def score_bounds(self) -> dict[str, float]:
        """Name of each mask -> the scores it is trained from start within ± this."""
        return dict.fromkeys(self.mask_sizes, 0.1)

    @abstractmethod
    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Logits.

        Args:
            images: (n, ...), or (b, n, ...) for b masks at once.
            masks: name -> levels in [0, 1], (*size) or (b, *size).

        Returns:
            (n, outputs) or (b, n, outputs).
        """

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Predictor:
        """Images (n, ...) -> logits (n, outputs), each image for itself.

        Args:
            masks: binary masks, name -> (*size).
            reference: images (n, ...) that are not scored, for networks that need statistics.
        """
        levels = {name: mask.float() for name, mask in masks.items()}
        return lambda images: self.forward(images, levels)


def signed_constant(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Weights ±√(2/fan_in) of a layer, (fan_out, ...) with fan_in = product of the other sides.

    Example:
        >>> w = signed_constant((3, 2), torch.Generator().manual_seed(0))
        >>> w.abs().unique()
        tensor([1.])

    Source:
        Ramanujan et al. 2020 (arXiv 1911.13299), "signed Kaiming constant"; SupSup, section 3.
    """
    signs = torch.randint(0, 2, tuple(shape), generator=generator)
    return (signs * 2 - 1) * sqrt(2 / prod(shape[1:]))


def fix_weights(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw a new module's weights: signed Kaiming constants, biases 0; returns the module.

    Linear and Conv2d layers alone are drawn, in the order of `module.modules()`.

    Raises:
        ConfigError: lazy layers that have no weights yet.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> fix_weights(nn.Linear(2, 1), g).bias
        Parameter containing:
        tensor([0.], requires_grad=True)

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.
    """
    refuse_lazy(module)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.copy_(signed_constant(layer.weight.shape, generator))
                if layer.bias is not None:
                    layer.bias.zero_()
    return module


def refuse_lazy(module: nn.Module) -> None:
    """Raise ConfigError where a module has lazy layers that were never run."""
    if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters()):
        raise ConfigError(
            f"{type(module).__name__} has lazy layers without weights: run it once beforehand"
        )


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Fully connected layers without biases, ReLU between them.

    Args:
        sizes: units of each layer, inputs first.

    Raises:
        ConfigError: sizes that nothing can be built from.

    Example:
        >>> mlp([4, 3, 2])(torch.ones(1, 4)).shape
        torch.Size([1, 2])
    """
    _check_sizes(sizes)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # torch draws a new layer from its global generator
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _check_sizes(sizes: Sequence[int]) -> None:
    if len(sizes) < 3 or any(not isinstance(s, int) or s < 1 for s in sizes):
        raise ConfigError(
            f"sizes must be inputs, at least one hidden layer and outputs, got {list(sizes)}"
        )
