"""The gradient of an objective by the mask, at given levels."""

import torch
from torch import Tensor

from hopmask import NumericalError
from supsup_bridge.inference.objectives import Objective
from supsup_bridge.networks.fixed import FixedNetwork, Masks


def slopes(network: FixedNetwork, objective: Objective, images: Tensor, levels: Masks) -> Masks:
    """∂H/∂M of each set of images at given levels of the masks; one pass forward and back.

    Args:
        network: the fixed network.
        objective: H of logits (..., outputs); its mean over a set's images is what is derived.
        images: (b, n, ...).
        levels: name -> (*size), or (b, *size).

    Returns:
        name -> (b, *size).

    Raises:
        NumericalError: the objective is not finite.
    """
    real = {}
    for name, level in levels.items():
        size = network.mask_sizes[name]
        shape = (size,) if isinstance(size, int) else size
        real[name] = level.detach().to(images).expand(len(images), *shape).clone().requires_grad_()
    with torch.enable_grad():
        value = objective(network(images, real)).mean(-1)
        gradients = torch.autograd.grad(value.sum(), list(real.values()))
    if not bool(torch.isfinite(value).all()):
        raise NumericalError("the objective is not finite: check the images for NaN")
    return dict(zip(real, gradients, strict=True))
