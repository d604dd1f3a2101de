"""One task as a plain module: the weights W ⊙ M, baked in."""

from copy import deepcopy

import torch
from torch import nn

from hopmask import ConfigError
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.networks.unit import UnitNetwork


@outside_inference
def plain_module(network: FixedNetwork, masks: Masks) -> nn.Module:
    """A network under one task's masks, as a module that knows nothing of masks.

    Args:
        network: the fixed network.
        masks: name -> bool (*size), and the task's statistics, where the network has any.

    Raises:
        ConfigError: a network that has no such module.
    """
    levels = {name: mask.float() for name, mask in masks.items()}
    if isinstance(network, MaskedNetwork):
        return _of_masked(network, levels)
    if isinstance(network, UnitNetwork) and network.normalisation == "layer":
        return _of_units(network, levels)
    raise ConfigError(
        f"{type(network).__name__} has no plain module: its logits depend on reference images, or "
        "it masks something else than weights"
    )


def _of_masked(network: MaskedNetwork, levels: Masks) -> nn.Module:
    module = deepcopy(network.module).eval()
    with torch.no_grad():
        for name, value in network.masked_parameters(levels).items():
            place, _, leaf = name.rpartition(".")  # of its own: layers may share a weight
            trained = module.get_parameter(name).requires_grad
            own = nn.Parameter(value.clone(), requires_grad=trained)
            setattr(module.get_submodule(place), leaf, own)
        for name, value in network.task_buffers(levels).items():
            module.get_buffer(name).copy_(value)
    for name, momentum in network.momenta.items():
        module.get_submodule(name).momentum = momentum  # type: ignore[assignment]
    return module


def _of_units(network: UnitNetwork, levels: Masks) -> nn.Module:
    """Layer norm's gain is the mask."""
    layers: list[nn.Module] = []
    weights = [network.get_buffer(f"weight{i}") for i in range(network.depth)]
    for number, weight in enumerate(weights, 1):
        units, inputs = weight.shape
        linear = nn.Linear(inputs, units, bias=False, device="meta").to_empty(device=weight.device)
        with torch.no_grad():
            linear.weight.copy_(weight)
        layers.append(linear)
        if number < network.depth:
            norm = nn.LayerNorm(units, bias=False, device=weight.device)
            with torch.no_grad():
                norm.weight.copy_(levels[f"hidden{number}"])
            layers += [norm, nn.SiLU()]
    return nn.Sequential(*layers).requires_grad_(False).eval()
