"""Signatures: what of its images a task is to be recognised by, one vector an image."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.inference.slopes import slopes
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.registry import imported

Signature = Callable[[Tensor], Tensor]  # images (n, *shape) -> (n, k)
SIGNATURES = ("input", "outputs", "gradient")
DESCRIBED = 8192  # images of a task, at most, that the content address learns from
_CHUNK = 64  # images whose gradients are taken at once


def pixels(images: Tensor) -> Tensor:
    """The images themselves, flat: (n, pixels)."""
    return images.flatten(1)


def outputs(images: Tensor, *, network: FixedNetwork) -> Tensor:
    """Outputs of the fixed network with every mask bit at one half, (n, outputs)."""
    with torch.no_grad():
        made: Tensor = network(images, _half(network, images))
    return made


def gradient(images: Tensor, *, network: FixedNetwork) -> Tensor:
    """Each image's entropy gradient ∂H/∂m at m = ½, all masks in a row, (n, bits)."""
    half = _half(network, images)
    parts = []
    for part in torch.split(images[:, None], _CHUNK):
        slope = slopes(network, entropy, part, half)
        parts.append(torch.cat([g.flatten(1) for g in slope.values()], -1))
    return torch.cat(parts)


def of_sets(signature: Signature, images: Tensor) -> Tensor:
    """Signatures (b, n, k) of sets of images (b, n, *shape)."""
    found = signature(images.flatten(0, 1))
    return found.reshape(*images.shape[:2], -1)


def signature_named(name: str, network: FixedNetwork) -> Signature:
    """A signature by its name in `SIGNATURES`, or "package.module:function".

    Args:
        name: "input" (the images), "outputs" (of the fixed network at half mask), "gradient" (of
            the entropy at half mask), or a user's function of images (n, *shape).
        network: the fixed network.

    Raises:
        ConfigError: a name that is not known, or a network in whose outputs images take part in
            each other's (batch norm), where it is the network that is asked.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> network = UnitNetwork([4, 8, 3], network=torch.Generator().manual_seed(0))
        >>> signature_named("outputs", network)(torch.ones(5, 4)).shape
        torch.Size([5, 3])
    """
    if name == "input":
        return pixels
    if name in SIGNATURES and not network.pointwise:
        raise ConfigError(
            f"signature '{name}' needs a network that sees every image for itself, without batch "
            "norm: use signature 'input'"
        )
    if name == "outputs":
        return partial(outputs, network=network)
    if name == "gradient":
        return partial(gradient, network=network)
    made: Signature = imported(name, what="signature")
    return made


def _half(network: FixedNetwork, like: Tensor) -> Masks:
    return {
        name: torch.full(size if isinstance(size, tuple) else (size,), 0.5).to(like)
        for name, size in network.mask_sizes.items()
    }
