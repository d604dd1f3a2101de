"""Baselines by name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hopmask import ConfigError
from hopmask.errors import unknown_name
from supsup_bridge.continual.baselines.batch_ensemble import BatchEnsemble
from supsup_bridge.continual.baselines.contexts import Superposition, UnitGating
from supsup_bridge.continual.baselines.fine_tuned import FineTuned
from supsup_bridge.continual.baselines.piggyback import Piggyback
from supsup_bridge.continual.baselines.separate import SeparateHeads, UpperBound
from supsup_bridge.continual.baselines.subnetworks import (
    ExclusiveSubnetworks,
    WinningSubnetworks,
)
from supsup_bridge.continual.baselines.weights import WeightBaseline
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.networks.registry import build
from supsup_bridge.training.settings import TrainingSettings

_MADE: dict[str, tuple[type[WeightBaseline], dict[str, Any]]] = {  # and its fixed options
    "upper-bound": (UpperBound, {}),
    "lower-bound": (FineTuned, {}),
    "heads": (SeparateHeads, {"trained": False}),
    "heads-trained": (SeparateHeads, {"trained": True}),
    "batche": (BatchEnsemble, {"trained": False}),
    "batche-trained": (BatchEnsemble, {"trained": True}),
    "psp": (Superposition, {}),
    "xdg": (UnitGating, {}),
    "piggyback": (Piggyback, {}),
    "wsn": (WinningSubnetworks, {}),
    "exssnet": (ExclusiveSubnetworks, {}),
}
BASELINES = (*_MADE,)
_HEADS = {"GG": "own", "GNs": "shared", "GNu": "all", "NNs": "shared"}


def baseline_named(
    name: str,
    *,
    network: str,
    inputs: int | Sequence[int],
    classes: int,
    tasks: int,
    scenario: str,
    training: TrainingSettings,
    seed: int,
    outputs: int | None = None,
    device: str | torch.device = "cpu",
    **options: Any,
) -> WeightBaseline:
    """A learner to compare SupSup with, on the network that SupSup masks.

    Args:
        name: one of `BASELINES`.
        network: a name, as in `build`.
        inputs: pixels of a flat image, or its shape.
        classes: labels of a task.
        tasks: how many tasks there will be.
        scenario: "GG", "GNs", "GNu" or "NNs"; outputs of "lower-bound" depend on it.
        training: how weights are trained.
        seed: of whatever is drawn.
        outputs: output units, superfluous ones included, of learners that compare tasks; None for
            one of each label. Those of "lower-bound" follow from the scenario.
        device: where to compute.
        options: of the learner's class, such as rank= or share=.

    Raises:
        ConfigError: an unknown name or option, a scenario that the learner cannot be scored in, or
            a network that takes no weight masks.

    Example:
        >>> learner = baseline_named(
        ...     "psp",
        ...     network="lenet-300-100",
        ...     inputs=64,
        ...     classes=2,
        ...     tasks=5,
        ...     scenario="GG",
        ...     training=TrainingSettings(rate=1e-3),
        ...     seed=0,
        ... )
        >>> learner.nbytes, learner.count
        (197600, 0)
    """
    if name not in _MADE:
        raise ConfigError(unknown_name("learner", name, BASELINES))
    kind, fixed = _MADE[name]
    if scenario not in kind.scenarios:
        raise ConfigError(
            f"learner {name} serves scenarios {', '.join(kind.scenarios)}, got {scenario}"
        )
    units = outputs or classes
    if kind is FineTuned:
        boundless = scenario == "NNs"
        options |= {"heads": _HEADS[scenario], "classes": classes, "boundless": boundless}
        units = classes * (tasks if scenario == "GNu" else 1)
    bare = bare_network(network, inputs=inputs, outputs=units, device=device)
    try:
        return kind(bare, training=training, seed=seed, **fixed, **options)
    except TypeError as error:
        raise ConfigError(f"learner {name} does not take these options: {error}") from error


def bare_network(
    name: str, *, inputs: int | Sequence[int], outputs: int, device: str | torch.device = "cpu"
) -> MaskedNetwork:
    """A network by name whose weights are 1: with weights for masks, it is f(x, W).

    Args:
        name: as in `build`.
        inputs: pixels of a flat image, or its shape.
        outputs: output units.
        device: where to compute.

    Raises:
        ConfigError: a network that takes no weight masks, or does not fit.

    Example:
        >>> network = bare_network("lenet-300-100", inputs=4, outputs=2)
        >>> weights = {name: torch.randn(size) for name, size in network.mask_sizes.items()}
        >>> network(torch.ones(3, 4), weights).shape
        torch.Size([3, 2])
    """
    generator = torch.Generator("cpu").manual_seed(0)  # of weights that are not used
    network = build(
        name,
        masks="weight",
        inputs=inputs,
        outputs=outputs,
        bits=0,
        weights=generator,
        spread=generator,
    )
    assert isinstance(network, MaskedNetwork)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.fill_(1.0)
    return network.to(device)
