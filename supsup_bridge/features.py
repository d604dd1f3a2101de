"""Content of a set of images as one vector: the signature that a memory stores as an address."""

from math import pi, sqrt

import torch
from torch import Tensor

_BANDWIDTH = 3.5  # times the inverse of a typical distance √(2·inputs) between standardised images


class KernelMean:
    """Mean of random Fourier features: the kernel mean embedding of a set of images.

    φ(x) = cos(Ωx + b), Ω Gaussian, b uniform; signature = mean of φ over the images. The inner
    product of two signatures approximates the mean Gaussian kernel between their images, so one
    image points at the task in whose data it is most at home.

    Args:
        inputs: pixels of an image.
        features: length of the signature.
        generator: of Ω and b.

    Example:
        >>> embed = KernelMean(4, features=8, generator=torch.Generator().manual_seed(0))
        >>> embed(torch.zeros(3, 4)).shape
        torch.Size([8])

    Source:
        Rahimi, Recht 2007 (random features); Smola et al. 2007 (kernel mean embedding).
    """

    def __init__(self, inputs: int, *, features: int, generator: torch.Generator) -> None:
        scale = _BANDWIDTH / sqrt(2 * inputs)
        self.directions = torch.randn(inputs, features, generator=generator) * scale
        self.phases = torch.rand(features, generator=generator) * 2 * pi

    def __call__(self, images: Tensor, *, chunk: int = 4096) -> Tensor:
        """Signature of images (..., n, inputs): (..., features)."""
        directions, phases = self.directions.to(images), self.phases.to(images)
        parts = [
            torch.cos(part @ directions + phases).sum(-2)
            for part in torch.split(images, chunk, dim=-2)
        ]
        return torch.stack(parts).sum(0) / images.shape[-2]
