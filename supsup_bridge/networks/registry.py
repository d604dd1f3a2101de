"""Networks by name, and a user's network by `package.module:function`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.networks.fixed import FixedNetwork, fix_weights, mlp
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.networks.unit import UnitNetwork

_HIDDEN = {"lenet-300-100": (300, 100), "fc-1024-1024": (1024, 1024)}
_NORMALISED = {"layer-norm": "layer", "paper": "batch"}  # two hidden layers of `bits` units
NETWORKS = (*_HIDDEN, *_NORMALISED)


def build(
    name: str,
    *,
    masks: str,
    inputs: int,
    outputs: int,
    bits: int,
    weights: torch.Generator,
    spread: torch.Generator,
) -> FixedNetwork:
    """A fixed random network seen through masks.

    Args:
        name: one of `NETWORKS`, or "package.module:function"; the function is called with inputs
            and outputs and returns a module over images (n, inputs). Its Linear and Conv2d weights
            are drawn anew.
        masks: "weight", "signed", "unit" or "hashed"; "layer-norm" and "paper" have unit masks.
        inputs: pixels of an image.
        outputs: output units, superfluous ones included.
        bits: length of hashed masks, or hidden units of "layer-norm" and "paper".
        weights: generator of the weights.
        spread: generator of the hashed map.

    Raises:
        ConfigError: a name that is not known, or a module that cannot be made or masked.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> sizes = {"inputs": 64, "outputs": 10, "bits": 0}
        >>> build("lenet-300-100", masks="weight", weights=g, spread=g, **sizes).outputs
        10

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 4 and appendix.
    """
    if name in _NORMALISED:
        if masks != "unit":
            raise ConfigError(
                f"network '{name}' has unit masks, got masks='{masks}': add --masks unit, or "
                f"choose {' or '.join(_HIDDEN)}"
            )
        sizes = [inputs, bits, bits, outputs]
        return UnitNetwork(sizes, network=weights, normalisation=_NORMALISED[name])
    if name in _HIDDEN:
        module: nn.Module = mlp([inputs, *_HIDDEN[name], outputs])
    else:
        module = _made(name, inputs, outputs, weights)
    fix_weights(module, weights)
    if masks == "hashed":
        network = MaskedNetwork(module, masks="hashed", bits=bits, spread=spread)
    else:
        network = MaskedNetwork(module, masks=masks)
    if network.outputs != outputs:
        raise ConfigError(
            f"network {name!r} has {network.outputs} outputs, the run needs {outputs}"
        )
    return network


def check_fits(network: FixedNetwork, images: Tensor, *, name: str) -> None:
    """Pass images through a network once, before any training.

    Raises:
        ConfigError: the network cannot take them.
    """
    blank = {
        mask: images.new_full(size if isinstance(size, tuple) else (size,), 0.5)
        for mask, size in network.mask_sizes.items()
    }
    try:
        with torch.no_grad():
            network(images, blank)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"network '{name}' cannot take images {tuple(images.shape)}: {error}. A module is "
            "called with flat images (n, pixels); batch norm of single features needs "
            "--infer-samples 2 or more"
        ) from error


def imported(name: str, *, what: str) -> Callable[..., Any]:
    """A function by "package.module:function".

    Args:
        name: of the function.
        what: what it is to be, for the error.

    Raises:
        ConfigError: it cannot be imported.
    """
    package, _, function = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(package), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{what} {name!r} cannot be imported ({error}): give package.module:function, with "
            "the package installed or on PYTHONPATH"
        ) from error
    return found


def _made(name: str, inputs: int, outputs: int, weights: torch.Generator) -> nn.Module:
    make = imported(name, what="network")
    called = f"{name.partition(':')[2]}({inputs}, {outputs})"
    try:
        with torch.random.fork_rng(devices=[]):
            # whatever is not drawn anew afterwards; the fork gives the generator's state back
            torch.default_generator.manual_seed(weights.initial_seed())
            module = make(inputs, outputs)
    except Exception as error:
        raise ConfigError(
            f"network {name!r} cannot be made ({type(error).__name__}: {error}): it is called as "
            f"{called}, with the inputs and outputs of the run"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"network {name!r}: {called} returned {type(module).__name__}, not a torch module: "
            "return the network"
        )
    return module
