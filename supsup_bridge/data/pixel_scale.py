"""How the pixels of a picture become an image for a network."""

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from hopmask import ConfigError


@dataclass(frozen=True, kw_only=True)
class PixelScale:
    """x = (pixel / 255 − mean) / std, of the whole picture or of its centre.

    Args:
        mean, std: of pixels / 255; one figure, or one for each channel.
        centre: whether an image is the central 224×224 pixels of a picture whose shorter side was
            made 256, as ImageNet's are.

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
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.std) or not self.mean:
            raise ConfigError(
                f"mean and std need one figure for each channel, got {self.mean} and {self.std}"
            )
        if not all(map(isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ConfigError(
                f"mean must be finite and std positive, got {self.mean} and {self.std}"
            )

    def images(self, pixels: Tensor) -> Tensor:
        """float32 images of uint8 pixels, (..., channels, height, width); (...) of one channel."""
        mean, std = (_along_channels(figures) for figures in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean.to(pixels.device)).div_(std.to(pixels.device))


def _along_channels(figures: tuple[float, ...]) -> Tensor:
    made = torch.tensor(figures, dtype=torch.float32, device="cpu")
    return made[0] if len(figures) == 1 else made.view(-1, 1, 1)
