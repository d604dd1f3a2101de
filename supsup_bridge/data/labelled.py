"""Labelled images of a whole data set, from which tasks take their parts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self

import numpy as np
from torch import Tensor

from supsup_bridge.data.pixel_scale import PixelScale
from supsup_bridge.data.task import Made, Streamed


class Labelled(Protocol):
    """Images with a label each, in whatever form they are kept."""

    @property
    def labels(self) -> Tensor:
        """Integer (n,)."""
        ...

    @property
    def scale(self) -> PixelScale | None:
        """How images are made of pixels, where that is known."""
        ...

    def chosen(self, where: Tensor) -> Self:
        """Some of them, by number."""
        ...

    def on_scale_of(self, train: Self) -> Self:
        """The same, standardised by what is measured in a training part, or by a fixed scale."""
        ...

    def made(self, where: Tensor) -> Tensor | Callable[[], Tensor]:
        """Images by number, standardised float32 (k, *shape), or a function that makes them."""
        ...

    def streamed(self, where: Tensor, labels: Tensor) -> Streamed | None:
        """The same batch by batch, with other labels (k,), where they are too many to hold."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A data set.

    Attributes:
        train: its training part, or the whole of a set that has no parts.
        test: its test part, if it has one.
        names: of the classes, by label, as far as they are known.
    """

    train: Labelled
    test: Labelled | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Standardised float32 images (n, *shape) and integer labels (n,), with their scale."""

    images: Tensor
    labels: Tensor
    scale: PixelScale | None = None

    def chosen(self, where: Tensor) -> "LabelledImages":
        return replace(self, images=self.images[where], labels=self.labels[where])

    def on_scale_of(self, train: "LabelledImages") -> "LabelledImages":
        return self

    def made(self, where: Tensor) -> Tensor:
        return self.images[where]

    def streamed(self, where: Tensor, labels: Tensor) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class LabelledPixels:
    """Images as bytes, standardised at each access.

    Args:
        pixels: uint8 (n, *shape).
        labels: integer (n,).
        scale: by which they are.
        measured: whether it is that of the set's own training part, by `scale_of`.

    Example:
        >>> import torch
        >>> pixels, half = torch.tensor([[0, 255]], dtype=torch.uint8), (0.5,)
        >>> scale = PixelScale(mean=half, std=half)
        >>> data = LabelledPixels(pixels=pixels, labels=torch.tensor([0]), scale=scale)
        >>> data.made(torch.tensor([0]))()
        tensor([[-1.,  1.]])
    """

    pixels: Tensor
    labels: Tensor
    scale: PixelScale
    measured: bool = False

    def chosen(self, where: Tensor) -> "LabelledPixels":
        return replace(self, pixels=self.pixels[where], labels=self.labels[where])

    def on_scale_of(self, train: "LabelledPixels") -> "LabelledPixels":
        return replace(self, scale=scale_of(train.pixels)) if self.measured else self

    def made(self, where: Tensor) -> Made:
        return Made(partial(self._made, where), len(where))

    def streamed(self, where: Tensor, labels: Tensor) -> None:
        return None

    def _made(self, where: Tensor) -> Tensor:
        return self.scale.images(self.pixels[where])


def scale_of(pixels: Tensor) -> PixelScale:
    """Mean and standard deviation (1 where it is 0) of all of uint8 pixels / 255.

    Example:
        >>> import torch
        >>> scale_of(torch.tensor([[0, 255]], dtype=torch.uint8))
        PixelScale(mean=(0.5,), std=(0.5,), centre=False)
    """
    counts = np.bincount(pixels.numpy().reshape(-1), minlength=256)  # exact, in no order
    values = np.arange(256) / 255
    mean = float(counts @ values / counts.sum())
    std = float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
    return PixelScale(mean=(mean,), std=(std or 1.0,))
