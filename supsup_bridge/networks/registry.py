"""Networks by name, and a user's network by `package.module:function`."""

from collections.abc import Callable, Sequence
from importlib import import_module
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from hopmask import ConfigError
from hopmask.errors import unknown_name
from supsup_bridge.networks.convolutional import ImageShape, LeNet5, SmallAlexNet
from supsup_bridge.networks.fixed import FixedNetwork, fix_weights, half_masks, mlp
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.networks.resnets import gem_resnet18, resnet18, resnet50
from supsup_bridge.networks.unit import UnitNetwork

_HIDDEN = {
    "lenet-300-100": (300, 100),
    "fc-1024-1024": (1024, 1024),
    "fc-100-100": (100, 100),  # of winning subnetworks' figures on PermutedMNIST
}
_NORMALISED = {"layer-norm": "layer", "paper": "batch"}  # two hidden layers of `bits` units
_CONVOLUTIONAL: dict[str, tuple[Callable[[ImageShape, int], nn.Module], int]] = {
    "lenet-5": (LeNet5, 16),  # and the least side of an image
    "alexnet-small": (SmallAlexNet, 19),
    "gem-resnet18": (gem_resnet18, 8),
    "resnet18": (resnet18, 32),
    "resnet50": (resnet50, 32),
}
NETWORKS = (*_HIDDEN, *_NORMALISED, *_CONVOLUTIONAL)


def build(
    name: str,
    *,
    masks: str,
    inputs: int | Sequence[int],
    outputs: int,
    bits: int,
    weights: torch.Generator,
    spread: torch.Generator,
) -> FixedNetwork:
    """A fixed random network seen through masks.

    Args:
        name: one of `NETWORKS`, or "package.module:function"; the function is called with inputs
            and outputs and returns a module over images (n, inputs) or (n, *inputs). Its Linear and
            Conv2d weights are drawn anew.
        masks: "weight", "signed", "unit" or "hashed"; "layer-norm" and "paper" have unit masks.
        inputs: pixels of a flat image, or its shape; networks with convolutions take a shape
            (channels, height, width), the others a number.
        outputs: output units, superfluous ones included.
        bits: length of hashed masks, or hidden units of "layer-norm" and "paper".
        weights: generator of the weights.
        spread: generator of the hashed map.

    Raises:
        ConfigError: a name that is not known, inputs that do not fit the network, or a module that
            cannot be made or masked.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> common = {"masks": "weight", "outputs": 10, "bits": 0, "weights": g, "spread": g}
        >>> build("lenet-300-100", inputs=64, **common).outputs
        10
        >>> build("gem-resnet18", inputs=(3, 32, 32), **common).mask_sizes["conv1"]
        (20, 3, 3, 3)

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 4 and appendix.
    """
    size = _size(inputs)
    if name in _NORMALISED:
        if masks != "unit":
            raise ConfigError(
                f"network '{name}' has unit masks, got masks='{masks}': add --masks unit, or "
                f"choose {' or '.join(_HIDDEN)}"
            )
        sizes = [_pixels(name, size), bits, bits, outputs]
        return UnitNetwork(sizes, network=weights, normalisation=_NORMALISED[name])
    if name in _HIDDEN:
        module: nn.Module = mlp([_pixels(name, size), *_HIDDEN[name], outputs])
    elif name in _CONVOLUTIONAL:
        make, least = _CONVOLUTIONAL[name]
        with torch.random.fork_rng(devices=[]):  # torch draws new layers from its global generator
            module = make(_image_shape(name, size, least), outputs)
    else:
        module = module_named(name, size, outputs, seed=weights.initial_seed())
    fix_weights(module, weights)
    if masks == "hashed":
        network = MaskedNetwork(module, masks="hashed", bits=bits, spread=spread)
    else:
        network = MaskedNetwork(module, masks=masks)
    network.channels_last = name in _CONVOLUTIONAL
    if network.outputs != outputs:
        raise ConfigError(
            f"network {name!r} has {network.outputs} outputs, the run needs {outputs}"
        )
    return network


def sized_by_bits(name: str, masks: str) -> bool:
    """Whether `bits` sets the size of a network's masks: of hashed ones, or of hidden units.

    Example:
        >>> sized_by_bits("layer-norm", "unit"), sized_by_bits("lenet-5", "unit")
        (True, False)
    """
    return masks == "hashed" or (masks == "unit" and name in _NORMALISED)


def check_fits(network: FixedNetwork, images: Tensor, *, name: str) -> None:
    """Pass images through a network once, before any training.

    Raises:
        ConfigError: the network cannot take them.
    """
    blank = half_masks({**network.mask_sizes, **network.statistics_sizes}, images)
    try:
        with torch.no_grad():
            network(images, blank)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"network '{name}' cannot take images {tuple(images.shape)}: {error}. A module is "
            "called with images as the benchmark has them; batch norm of single features needs "
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


def _size(inputs: object) -> int | tuple[int, ...]:
    """A number of pixels or a shape of an image, checked."""
    shape = tuple(inputs) if isinstance(inputs, Sequence) else (inputs,)
    if not shape or any(not isinstance(s, int) or isinstance(s, bool) or s < 1 for s in shape):
        raise ConfigError(
            f"inputs must be the number of pixels of an image, or its shape, got {inputs!r:.40}"
        )
    return shape if len(shape) > 1 else shape[0]


def _pixels(name: str, size: int | tuple[int, ...]) -> int:
    if isinstance(size, tuple):
        raise ConfigError(
            f"network '{name}' takes flat images, got images of shape {size}: give it "
            f"inputs={prod(size)} and images.flatten(1), or choose {', '.join(_CONVOLUTIONAL)}"
        )
    return size


def _image_shape(name: str, size: int | tuple[int, ...], least: int) -> ImageShape:
    if isinstance(size, int) or len(size) != 3:
        shape = f"of shape {size}" if isinstance(size, tuple) else f"of {size} pixels in a row"
        raise ConfigError(
            f"network '{name}' has convolutions and takes images (channels, height, width), got "
            f"images {shape}: give inputs=(3, 32, 32), for example, or use --network "
            f"{' or '.join(_HIDDEN)}"
        )
    channels, height, width = size
    if min(height, width) < least:
        raise ConfigError(
            f"network '{name}' needs images of {least}x{least} pixels or more, got "
            f"{height}x{width}: enlarge them, or choose another network"
        )
    return channels, height, width


def module_named(name: str, inputs: int | tuple[int, ...], outputs: int, *, seed: int) -> nn.Module:
    """A user's module, made by calling "package.module:function" with inputs and outputs.

    Args:
        name: of the function.
        inputs: pixels of a flat image, or its shape.
        outputs: of the module.
        seed: of torch's global generator during the call, which is put back afterwards.

    Raises:
        ConfigError: the function cannot be imported, fails, or returns no module.
    """
    if ":" not in name:
        known = (*NETWORKS, "package.module:function")
        raise ConfigError(unknown_name("network", name, known))
    make = imported(name, what="network")
    called = f"{name.partition(':')[2]}({inputs}, {outputs})"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
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
