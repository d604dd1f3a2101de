"""Labelled images of a whole data set, from which tasks take their parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from supsup_bridge.data.task import Streamed


class Labelled(Protocol):
    """Images with a label each, in whatever form they are kept."""

    @property
    def labels(self) -> Tensor:
        """Integer (n,)."""
        ...

    def part(self, where: Tensor) -> Tensor | Callable[[], Tensor]:
        """Images by number, standardised float32 (k, *shape), or a function that makes them."""
        ...

    def streamed(self, where: Tensor, labels: Tensor) -> Streamed | None:
        """The same images batch by batch, with these labels, where they are too many to hold."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Standardised float32 images (n, *shape) and integer labels (n,)."""

    images: Tensor
    labels: Tensor

    def part(self, where: Tensor) -> Tensor:
        return self.images[where]

    def streamed(self, where: Tensor, labels: Tensor) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class LabelledPixels:
    """Images as bytes, standardised at each access: x = (pixel / 255 − mean) / std.

    Args:
        pixels: uint8 (n, *shape).
        labels: integer (n,).
        mean, std: of pixels / 255, of a shape that goes with an image's: (c, 1, 1) or ().

    Example:
        >>> half = torch.tensor(0.5)
        >>> pixels = torch.tensor([[0, 255]], dtype=torch.uint8)
        >>> data = LabelledPixels(pixels=pixels, labels=torch.tensor([0]), mean=half, std=half)
        >>> data.part(torch.tensor([0]))()
        tensor([[-1.,  1.]])
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def part(self, where: Tensor) -> Callable[[], Tensor]:
        return partial(self._standardised, where)

    def streamed(self, where: Tensor, labels: Tensor) -> None:
        return None

    def chosen(self, where: Tensor) -> "LabelledPixels":
        """Some of the images, by number."""
        return LabelledPixels(
            pixels=self.pixels[where], labels=self.labels[where], mean=self.mean, std=self.std
        )

    def _standardised(self, where: Tensor) -> Tensor:
        return standardised(self.pixels[where], self.mean, self.std)


def standardised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """float32 images (pixel / 255 − mean) / std of uint8 ones."""
    return (pixels.float() / 255 - mean) / std


def per_channel(values: tuple[float, ...]) -> Tensor:
    """Figures of the channels, for images (channels, height, width).

    Example:
        >>> per_channel((0.5, 0.4, 0.3)).shape
        torch.Size([3, 1, 1])
    """
    return torch.tensor(values, dtype=torch.float32, device="cpu").reshape(-1, 1, 1)
