"""Labelled images of a whole data set, from which tasks take their parts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from supsup_bridge.data.task import Made, Streamed


class Labelled(Protocol):
    """Images with a label each, in whatever form they are kept."""

    @property
    def labels(self) -> Tensor:
        """Integer (n,)."""
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
    """Standardised float32 images (n, *shape) and integer labels (n,)."""

    images: Tensor
    labels: Tensor

    def chosen(self, where: Tensor) -> "LabelledImages":
        return LabelledImages(images=self.images[where], labels=self.labels[where])

    def on_scale_of(self, train: "LabelledImages") -> "LabelledImages":
        return self

    def made(self, where: Tensor) -> Tensor:
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
        measured: whether they are those of the set's own training part, by `scale_of`.

    Example:
        >>> half = torch.tensor(0.5)
        >>> pixels = torch.tensor([[0, 255]], dtype=torch.uint8)
        >>> data = LabelledPixels(pixels=pixels, labels=torch.tensor([0]), mean=half, std=half)
        >>> data.made(torch.tensor([0]))()
        tensor([[-1.,  1.]])
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    measured: bool = False

    def chosen(self, where: Tensor) -> "LabelledPixels":
        return replace(self, pixels=self.pixels[where], labels=self.labels[where])

    def on_scale_of(self, train: "LabelledPixels") -> "LabelledPixels":
        if not self.measured:
            return self
        mean, std = scale_of(train.pixels)
        return replace(self, mean=mean, std=std)

    def made(self, where: Tensor) -> Made:
        return Made(partial(self._made, where), len(where))

    def streamed(self, where: Tensor, labels: Tensor) -> None:
        return None

    def _made(self, where: Tensor) -> Tensor:
        return standardised(self.pixels[where], self.mean, self.std)


def standardised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """float32 images (pixel / 255 − mean) / std of uint8 ones."""
    return pixels.float().div_(255).sub_(mean).div_(std)


def scale_of(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1 where it is 0) of all of uint8 pixels / 255.

    Example:
        >>> scale_of(torch.tensor([[0, 255]], dtype=torch.uint8))
        (tensor(0.5000), tensor(0.5000))
    """
    counts = np.bincount(pixels.numpy().reshape(-1), minlength=256)  # exact, in no order
    values = np.arange(256) / 255
    mean = float(counts @ values / counts.sum())
    std = float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
    return torch.tensor(mean, device="cpu"), torch.tensor(std or 1.0, device="cpu")


def per_channel(values: tuple[float, ...]) -> Tensor:
    """Figures of the channels, for images (channels, height, width).

    Example:
        >>> per_channel((0.5, 0.4, 0.3)).shape
        torch.Size([3, 1, 1])
    """
    return torch.tensor(values, dtype=torch.float32, device="cpu").reshape(-1, 1, 1)
