"""Signatures: vectors, one per image, by which a task is recognised."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.inference.patches import patches
from supsup_bridge.inference.slopes import slopes
from supsup_bridge.networks.fixed import FixedNetwork, half_masks
from supsup_bridge.networks.precision import without_autocast
from supsup_bridge.networks.registry import imported

Signature = Callable[[Tensor], Tensor]  # images (n, *shape) -> (n, k)
SIGNATURES = ("input", "patches", "outputs", "gradient")
DESCRIBED = 8192  # images of a task, at most, that the content address learns from
_CHUNK = 64  # images whose gradients are taken at once


def pixels(images: Tensor) -> Tensor:
    """The images themselves, each flattened: (n, *shape) -> (n, pixels)."""
    return images.flatten(1)


def outputs(images: Tensor, *, network: FixedNetwork) -> Tensor:
    """Outputs of the fixed network with every mask bit at one half, (n, outputs)."""
    with torch.no_grad(), without_autocast(images.device):
        made: Tensor = network(images, half_masks(network.mask_sizes, images))
    return made


def gradient(images: Tensor, *, network: FixedNetwork) -> Tensor:
    """Each image's entropy gradient ∂H/∂m at m = ½, all masks in a row, (n, bits)."""
    half = half_masks(network.mask_sizes, images)
    parts = []
    with without_autocast(images.device):
        for part in torch.split(images[:, None], _CHUNK):
            slope = slopes(network, entropy, part, half)
            parts.append(torch.cat([g.flatten(1) for g in slope.values()], -1))
    return torch.cat(parts)


def of_sets(signature: Signature, images: Tensor) -> Tensor:
    """Signatures of sets of images.

    Args:
        signature: of images (n, *shape).
        images: (b, n, *shape).

    Returns:
        (b, n, k).

    Raises:
        ConfigError: the signature does not give one vector per image.

    Example:
        >>> of_sets(pixels, torch.ones(2, 5, 1, 8, 8)).shape
        torch.Size([2, 5, 64])
    """
    made = signature(images.flatten(0, 1))
    count = images.shape[0] * images.shape[1]
    if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != count:
        came = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ConfigError(
            f"a signature of images {(count, *images.shape[2:])} must give one vector per image, "
            f"({count}, k), got {came}: flatten what belongs to one image"
        )
    return made.reshape(*images.shape[:2], -1)


def signature_named(name: str, network: FixedNetwork, *, seed: int = 0) -> Signature:
    """A signature by its name in `SIGNATURES`, or "package.module:function".

    Args:
        name: "input" (the images), "patches" (responses of random filters), "outputs" (of the
            fixed network at half mask), "gradient" (of the entropy at half mask), or a function of
            images (n, *shape) that gives (n, k).
        network: the fixed network.
        seed: of the filters.

    Raises:
        ConfigError: a name that is not known, or a signature of the network's outputs where an
            image's outputs depend on the other images (batch norm).

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> network = UnitNetwork([4, 8, 3], network=torch.Generator().manual_seed(0))
        >>> signature_named("outputs", network)(torch.ones(5, 4)).shape
        torch.Size([5, 3])
    """
    if name == "input":
        return pixels
    if name == "patches":
        return partial(patches, seed=seed)
    if name in SIGNATURES and not network.pointwise:
        raise ConfigError(
            f"signature '{name}' needs a network that sees every image for itself, without batch "
            "norm: use signature 'input' or 'patches'"
        )
    if name == "outputs":
        return partial(outputs, network=network)
    if name == "gradient":
        return partial(gradient, network=network)
    made: Signature = imported(name, what="signature")
    return made
