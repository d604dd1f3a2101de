"""The gradient of an objective by the mask, at given levels."""

import torch
from torch import Tensor

from hopmask import NumericalError
from supsup_bridge.inference.objectives import Objective
from supsup_bridge.networks.fixed import FixedNetwork, Masks, shape_of


def slopes(network: FixedNetwork, objective: Objective, images: Tensor, levels: Masks) -> Masks:
    """∂H/∂M of each set of images at given levels of the masks; one pass forward and back.

    Args:
        network: the fixed network.
        objective: H of logits (..., outputs); its mean over a set's images is what is derived.
        images: (b, n, ...).
        levels: of the masks, name -> (*size), or (b, *size); and statistics of the network, which
            are taken as they are.

    Returns:
        name of each mask -> (b, *size).

    Raises:
        NumericalError: the objective is not finite.
    """
    real = {}
    for name, size in {**network.mask_sizes, **network.statistics_sizes}.items():
        if name in levels:
            of_all = levels[name].detach().to(images).expand(len(images), *shape_of(size))
            real[name] = of_all.clone()
    masks = {name: real[name].requires_grad_() for name in network.mask_sizes}
    with torch.enable_grad():
        value = objective(network(images, real)).mean(-1)
        gradients = torch.autograd.grad(value.sum(), list(masks.values()))
    if not bool(torch.isfinite(value).all()):
        raise NumericalError("the objective is not finite: check the images for NaN")
    return dict(zip(masks, gradients, strict=True))
