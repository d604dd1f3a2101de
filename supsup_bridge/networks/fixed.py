"""Fixed random networks whose only freedom is a mask.

Weights are the signed Kaiming constant: biases 0, each weight ±√(2/fan_in) with equal chance, so a
network costs one seed. Masks enter as levels m in [0, 1]; binary masks are m in {0, 1}.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from hopmask import ConfigError, HopmaskError

REFERENCE = 2048  # images, at most, whose statistics a predictor with batch norm takes

Predictor = Callable[[Tensor], Tensor]
Size = int | tuple[int, ...]
Masks = dict[str, Tensor]


class FixedNetwork(nn.Module, ABC):
    """A network f(x, W ⊙ M) that owns W and is given M.

    Attributes:
        mask_sizes: name of each mask -> number of bits, or shape.
        outputs: output units, superfluous ones included.
        statistics_sizes: name of each statistic of normalisation that belongs to a task beside its
            masks -> number of values, or shape; none, unless a network says so.
        channels_last: whether masks are trained on images that lie channels-last, which is faster
            with convolutions. Networks by name say so; a module of one's own may not take them.

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
    channels_last = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`; where torch fails on the images given, a ConfigError names their shape."""
        with misfits_named(self, args[0] if args else None):
            return super().__call__(*args, **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the weights are: the device of the first parameter or buffer; else the CPU."""
        first = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def pointwise(self) -> bool:
        """Whether an image's logits under masks never depend on the other images given with it."""
        return True

    def pointwise_given(self, names: Iterable[str]) -> bool:
        """Whether they never do under masks and statistics of these names."""
        needed = self.statistics_sizes.keys()
        return self.pointwise or (bool(needed) and needed <= set(names))

    @property
    def statistics_sizes(self) -> dict[str, Size]:
        return {}

    @property
    def identity(self) -> dict[str, Tensor]:
        """Name of each tensor -> its value, as far as logits depend on it.

        These are parameters and buffers, also those that a state_dict leaves out.
        """
        kept: dict[str, Tensor] = self.state_dict()
        buffers = self.named_buffers(remove_duplicate=False)
        return {**kept, **{name: value for name, value in buffers if name not in kept}}

    @property
    def score_bounds(self) -> dict[str, float]:
        """Name of each mask -> the scores it is trained from start within ± this."""
        return dict.fromkeys(self.mask_sizes, 0.1)

    @abstractmethod
    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Logits.

        Args:
            images: (n, ...), or (b, n, ...) for b masks at once.
            masks: name -> levels in [0, 1], (*size) or (b, *size); of a network with statistics,
                also these, (*size) or (b, *size), but for calls that take those of their images.

        Returns:
            (n, outputs) or (b, n, outputs).
        """

    def statistics(
        self, masks: Mapping[str, Tensor], batches: Iterable[Tensor]
    ) -> dict[str, Tensor]:
        """Statistics that belong to a task, measured under its masks; {} where there are none.

        Every layer sees a batch normalised by the batch's own statistics, as in training; means
        over the batches, weighted by their images, are rounded to the 16 bits in which they are
        kept.

        Args:
            masks: final, name -> (*size).
            batches: training images (n_i, ...), not augmented.

        Returns:
            name -> float32 (*size).

        Raises:
            ConfigError: no images, or images that do not fit.
            NumericalError: a statistic is not finite in 16 bits.
        """
        return {}

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Predictor:
        """Images (n, ...) -> logits (n, outputs), each image for itself.

        Args:
            masks: binary masks, name -> (*size), and the task's statistics, where there are any.
            reference: images (n, ...) that are not scored, for networks that need statistics which
                were not given; with more than `REFERENCE` of them, so many, evenly spread, are
                used.
        """
        levels = {name: mask.float() for name, mask in masks.items()}
        return lambda images: self(images, levels)


def shape_of(size: Size) -> tuple[int, ...]:
    """Shape of a mask of so many bits, or of this shape.

    Example:
        >>> shape_of(3), shape_of((2, 3))
        ((3,), (2, 3))
    """
    return size if isinstance(size, tuple) else (size,)


def half_masks(sizes: Mapping[str, Size], like: Tensor) -> Masks:
    """Masks of ½, which say nothing, of these sizes; type and device of `like`.

    Example:
        >>> half_masks({"bits": 2}, torch.ones(1))
        {'bits': tensor([0.5000, 0.5000])}
    """
    return {name: like.new_full(shape_of(size), 0.5) for name, size in sizes.items()}


def signed_constant(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Weights ±√(2/fan_in) of a layer, (fan_out, ...) with fan_in = product of the other sides.

    Example:
        >>> w = signed_constant((3, 2), torch.Generator().manual_seed(0))
        >>> w.abs().unique()
        tensor([1.])

    Source:
        Ramanujan et al. 2020 (arXiv 1911.13299), "signed Kaiming constant"; SupSup, section 3.
    """
    signs = torch.randint(
        0, 2, tuple(shape), generator=generator, dtype=torch.int64, device=generator.device
    )
    return (signs * 2 - 1).to(torch.float32) * sqrt(2 / prod(shape[1:]))


def evenly(images: Tensor, most: int) -> Tensor:
    """The images, or so many of them, evenly spread.

    Example:
        >>> evenly(torch.arange(9), 3)
        tensor([0, 4, 8])
    """
    if len(images) <= most:
        return images
    places = torch.linspace(0, len(images) - 1, most, dtype=torch.float64, device="cpu").long()
    return images[places.to(images.device)]


def fix_weights(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw a new module's weights: signed Kaiming constants, biases 0; returns the module.

    Linear and Conv2d layers alone are drawn, in the order of `module.modules()`; all else stays.

    Args:
        module: changed in place.
        generator: of the signs.

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
    check_sizes(sizes)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # torch draws a new layer from its global generator
        for before, after in pairwise(sizes):
            layers += [
                nn.Linear(before, after, bias=False, device="cpu", dtype=torch.float32),
                nn.ReLU(),
            ]
    return nn.Sequential(*layers[:-1])


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise ConfigError unless there are inputs, at least one hidden layer, and outputs."""
    if len(sizes) < 3 or any(not isinstance(s, int) or s < 1 for s in sizes):
        raise ConfigError(
            f"sizes must be inputs, at least one hidden layer and outputs, got {list(sizes)}"
        )


@contextmanager
def misfits_named(network: FixedNetwork, images: object) -> Iterator[None]:
    """Where torch fails on these images in a block, a ConfigError names their shape."""
    try:
        yield
    except (HopmaskError, torch.cuda.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise _misfit(network, images, error) from error


def _misfit(network: FixedNetwork, images: object, error: Exception) -> ConfigError:
    if not isinstance(images, Tensor):
        return ConfigError(
            f"{type(network).__name__} takes images as a tensor (n, ...), got "
            f"{type(images).__name__}: {error}"
        )
    parameters = [p for p in network.parameters() if p.is_floating_point()]
    wanted = parameters[0].dtype if parameters else images.dtype
    if len(images) == 1 and images.dtype == wanted and not network.pointwise:
        return ConfigError(
            f"{type(network).__name__} cannot take one image {tuple(images.shape)} alone: {error}. "
            "Its batch norm takes statistics of several images: give more images, in batches of a "
            "size that leaves no single image at the end, or DataLoader(drop_last=True)"
        )
    if images.dtype != wanted:
        remedy = f"Give images of type {wanted}: images.to({wanted})"
    elif images.device != network.device:
        remedy = f"Give images on {network.device}: images.to({str(network.device)!r})"
    else:
        remedy = (
            "Give images (n, ...) of the shape that the module takes, or (b, n, ...) for b masks "
            "at once"
        )
    return ConfigError(
        f"{type(network).__name__} on {network.device} cannot take images "
        f"{tuple(images.shape)}, {images.dtype}, on {images.device}: {error}. {remedy}"
    )
