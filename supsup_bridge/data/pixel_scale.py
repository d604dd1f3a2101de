"""How the pixels of a picture become an image for a network."""

from dataclasses import dataclass
from math import isfinite
from numbers import Real

import torch
from torch import Tensor

from hopmask import ConfigError

UNKNOWN = "unknown"  # in the place of a scale: nobody can make such images of a picture


@dataclass(frozen=True, kw_only=True)
class PixelScale:
    """x = (pixel / 255 − mean) / std, of the whole picture or of its centre.

    Args:
        mean: of pixels / 255; one figure, or one for each channel.
        std: as `mean`.
        centre: whether an image is the central 224×224 pixels of a picture whose shorter side was
            made 256, as ImageNet's are. Who reads the picture cuts it; `images` does not.

    Raises:
        ConfigError: figures that no pixels can have, or not one for each channel.

    Example:
        >>> scale = PixelScale(mean=(0.5,), std=(0.25,))
        >>> scale.images(torch.tensor([[0, 255]], dtype=torch.uint8))
        tensor([[-2.,  2.]])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    centre: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            figures = getattr(self, name)
            several = isinstance(figures, tuple | list) and len(figures) > 0
            if not several or not all(isinstance(f, Real) and isfinite(f) for f in figures):
                raise ConfigError(
                    f"{name} must be a tuple of finite numbers, one or one for each channel, got "
                    f"{figures!r}: give such as (0.5,)"
                )
            object.__setattr__(self, name, tuple(map(float, figures)))
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ConfigError(
                f"std must be positive, and as many figures as mean, got {self.std} for "
                f"{self.mean}: measure both on pixels / 255"
            )
        if not isinstance(self.centre, bool):
            raise ConfigError(f"centre must be True or False, got {self.centre!r}")

    def images(self, pixels: Tensor) -> Tensor:
        """Images of pixels, which stay as they are.

        Args:
            pixels: uint8, (..., channels, height, width), or of any shape where there is one
                figure for all.

        Returns:
            float32, of the same shape.

        Raises:
            ConfigError: pixels of another type, or of another number of channels.

        Example:
            >>> scale = PixelScale(mean=(0.0, 0.0, 0.0), std=(1.0, 0.5, 0.25))
            >>> scale.images(torch.full((3, 1, 1), 255, dtype=torch.uint8)).flatten()
            tensor([1., 2., 4.])
        """
        if pixels.dtype != torch.uint8:
            raise ConfigError(f"pixels must be uint8, 0 to 255, got {pixels.dtype}")
        mean, std = (
            torch.tensor(figures, dtype=torch.float32, device=pixels.device)
            for figures in (self.mean, self.std)
        )
        if len(mean) > 1:
            if pixels.ndim < 3 or pixels.shape[-3] != len(mean):
                raise ConfigError(
                    f"pixels must be (..., {len(mean)}, height, width), got {tuple(pixels.shape)}"
                )
            mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
        return pixels.float().div_(255).sub_(mean).div_(std)
