"""Random patches: an image as responses of random filters, averaged over places."""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.networks.precision import without_autocast
from supsup_bridge.rng import stream

_FILTERS, _SIDE = 16, 3
_PLACES = 7  # along a side of an image, about


def patches(images: Tensor, *, seed: int) -> Tensor:
    """Answers to random filters: φ_fp(x) = mean over place p of max(0, x ∗ w_f), at length √k.

    Neighbouring pixels are seen together, and a stroke that is a pixel off gives much the same
    vector. A linear read-out so tells images apart that it confuses by their pixels. The 16
    filters w_f of 3×3 pixels have mean 0 and length 1; a place is a square of ⌊side / 7⌋ pixels.

    Args:
        images: (n, height, width), (n, channels, height, width), or flat squares (n, pixels).
        seed: of the filters.

    Returns:
        (n, k), each of mean square 1; zeros for an image to which no filter responds.

    Raises:
        ConfigError: images of another shape.

    Example:
        >>> patches(torch.rand(2, 784), seed=0).shape
        torch.Size([2, 784])

    Source:
        Coates, Lee, Ng 2011 (single-layer networks); random filters: Saxe et al. 2011.
    """
    pixels = _pixels(images)
    channels, height, width = pixels.shape[1:]
    size = (_FILTERS, channels, _SIDE, _SIDE)
    filters = torch.randn(
        size, generator=stream(seed, "patches"), dtype=torch.float32, device="cpu"
    )
    filters = filters - filters.mean((1, 2, 3), keepdim=True)
    filters = filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad(), without_autocast(images.device):
        answers = torch.relu(F.conv2d(pixels, filters.to(pixels), padding=_SIDE // 2))
        found = F.avg_pool2d(answers, max(1, min(height, width) // _PLACES)).flatten(1)
        unit: Tensor = F.normalize(found, dim=1)
        return unit.mul_(found.shape[1] ** 0.5)


def _pixels(images: Tensor) -> Tensor:
    """Images as (n, channels, height, width)."""
    if images.ndim == 2 and (side := isqrt(images.shape[1])) ** 2 == images.shape[1]:
        return images.reshape(-1, 1, side, side)
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4:
        return images
    raise ConfigError(
        "signature 'patches' takes images (n, height, width), (n, channels, height, width) or flat "
        f"squares, got {tuple(images.shape)}: use signature 'input'"
    )
