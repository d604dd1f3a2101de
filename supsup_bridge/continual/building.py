"""The fixed network of a learner, from a user's module or a name, and the learner's memory."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import nn

from hopmask import ConfigError, MaskMemory
from supsup_bridge.continual.settings import LearnerSettings
from supsup_bridge.networks import registry
from supsup_bridge.networks.fixed import FixedNetwork, fix_weights
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.rng import stream, stream_seed
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.training.settings import is_count

_HASHED_BITS = 2048  # of a hashed mask, unless the network has fewer weights
_UNITS = 1024  # hidden units per layer of a named network with unit masks


@outside_inference
def network_of(
    module: nn.Module | str,
    settings: LearnerSettings,
    *,
    inputs: int | Sequence[int] | None,
    outputs: int | None,
    device: str | torch.device | None,
) -> FixedNetwork:
    """A fixed network of the learner's own, on its device.

    Raises:
        ConfigError: a module, name, size or device that nothing can be built from.
    """
    if isinstance(module, str):
        network = _named(module, settings, inputs, outputs)
    elif inputs is not None or outputs is not None:
        raise ConfigError("inputs and outputs are for a network by name: a module has its own")
    elif isinstance(module, FixedNetwork):
        if settings.masks is not None or settings.bits is not None:
            raise ConfigError(
                f"{type(module).__name__} has masks of its own: leave out masks and bits"
            )
        network = deepcopy(module)
    elif isinstance(module, nn.Module):
        network = _masked(module, settings)
    else:
        raise ConfigError(
            f"module must be an nn.Module or a name ({', '.join(registry.NETWORKS)}), got "
            f"{type(module).__name__}"
        )
    for name, value in chain(network.named_parameters(), network.named_buffers()):
        if value.dtype == torch.bfloat16:
            raise ConfigError(
                f"{name} is bfloat16, in which no network is kept: give module.float(), and "
                "TrainingSettings(precision='bfloat16') for layers that compute in it"
            )
    return network if device is None else _on(network, device_named(device))


def memory_of(
    settings: LearnerSettings, network: FixedNetwork, fingerprint: str
) -> MaskMemory | MaskBank:
    """An empty memory for the masks of the network of that fingerprint, on the network's device.

    Raises:
        ConfigError: statistics of batch norms that such a memory cannot hold.
    """
    statistics = network.statistics_sizes
    if statistics and settings.task_free:
        raise ConfigError(
            "the statistics of batch norms are measured once a mask is final, which nobody says of "
            "a stream: use --network lenet-5 or another network without batch norm, group or layer "
            "norm in its place, or call module.eval()"
        )
    if settings.memory == "bank":
        return MaskBank(network.mask_sizes, extras=statistics, device=network.device)
    if statistics and not settings.on_hubs:
        raise ConfigError(
            "the statistics of batch norms belong to a task, and dense couplings have no place for "
            "them: use masks='weight', memory='bank', another norm, or call module.eval()"
        )
    given: dict[str, Any] = {"rule": settings.rule, "key_bits": settings.key_bits}
    if settings.on_hubs:
        given = {"couplings": "hub", "hubs": settings.hubs, "extras": statistics or None}
        given["signature_groups"] = settings.signature_groups
    return MaskMemory(
        network.mask_sizes,
        seed=stream_seed(settings.seed, "memory"),
        signature_features=int(settings.signature_features or 0),
        device=network.device,
        fingerprint=fingerprint,
        **given,
    )


def device_named(device: str | torch.device) -> torch.device:
    """A device by name; "auto" is CUDA where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{device!r} is no device: use auto, cpu or cuda") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' is not available here: use --device cpu or auto")
    return found


def _on(network: FixedNetwork, device: torch.device) -> FixedNetwork:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"cannot put the network on device '{device}': {error}") from error


def _named(
    name: str, settings: LearnerSettings, inputs: int | Sequence[int] | None, outputs: int | None
) -> FixedNetwork:
    if inputs is None or outputs is None:
        raise ConfigError(
            f"network {name!r} needs inputs and outputs: SupSup({name!r}, inputs=64, outputs=10)"
        )
    if settings.weights != "fixed":
        raise ConfigError("weights='given' is for a module: a network by name has none to keep")
    kind = settings.mask_kind
    if not is_count(outputs):
        raise ConfigError(f"outputs must be a positive whole number, got {outputs!r}")
    if settings.bits is not None and not registry.sized_by_bits(name, kind):
        raise ConfigError(
            f"bits does not say how large the {kind} masks of {name!r} are: leave it out"
        )
    usual = _HASHED_BITS if kind == "hashed" else _UNITS
    return registry.build(
        name,
        masks=kind,
        inputs=inputs,
        outputs=outputs,
        bits=settings.bits or usual,
        weights=stream(settings.seed, "network"),
        spread=stream(settings.seed, "map"),
    )


def _masked(module: nn.Module, settings: LearnerSettings) -> MaskedNetwork:
    if settings.weights == "fixed":
        module = fix_weights(deepcopy(module), stream(settings.seed, "network"))
    kind, options = settings.mask_kind, {}
    if kind == "hashed":
        options = {"bits": _bits(module, settings), "spread": stream(settings.seed, "map")}
    elif settings.bits is not None:
        raise ConfigError(f"bits is for hashed masks: the module itself sets {kind} masks' sizes")
    return MaskedNetwork(module, masks=kind, **options)


def _bits(module: nn.Module, settings: LearnerSettings) -> Any:
    weights = sum(
        layer.weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    )
    return settings.bits or max(1, min(_HASHED_BITS, weights))
