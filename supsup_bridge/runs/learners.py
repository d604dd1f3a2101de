"""The learners of a run by name, and which settings a baseline takes."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from hopmask import ConfigError
from hopmask.errors import unknown_name
from supsup_bridge.continual.baselines.named import BASELINES

OURS = "supsup"
_TASKWISE = ("GG", "GNs", "GNu")
RIVALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {  # of Avalanche's learners (`supsup_bridge.adapters.rivals`) the scenarios that each serves
        "ewc": _TASKWISE,
        "si": _TASKWISE,
        "lwf": _TASKWISE,
        "replay": (*_TASKWISE, "NNs"),
        "gem": _TASKWISE,
        "a-gem": _TASKWISE,
        "icarl": ("GNu",),
        "generative-replay": ("GNs", "GNu"),
        "pnn": ("GG",),
        "packnet": ("GG",),
    }
)
LEARNERS = (OURS, *BASELINES, *RIVALS)
READ_OUT = ("lower-bound", *RIVALS)  # read outputs that tasks share; the others compare tasks
_TAKEN = {  # by every learner
    *("benchmark", "scenario", "tasks", "classes_per_task", "seed", "batches", "augment"),
    *("infer_samples", "output_size", "protocol", "network", "evaluate_every", "quick"),
    *("train_in", "device", "learner"),
}


def check_learner(settings: Any) -> None:
    """Raise ConfigError unless the learner is known, and takes what is set in a `RunSettings`."""
    name = settings.learner
    if name not in LEARNERS:
        raise ConfigError(unknown_name("learner", name, LEARNERS))
    if name == OURS:
        return
    if name in RIVALS and settings.train_in not in (None, "float32"):
        raise ConfigError(f"learner {name} trains in float32: leave out --train-in")
    if name == "pnn" and settings.network != "standard":
        raise ConfigError("learner pnn has a network of its own: leave out --network")
    if name in READ_OUT:
        for option, value in (
            ("infer-samples", settings.infer_samples),
            ("output-size", settings.output_size),
        ):
            if value is not None and (option, value) != ("infer-samples", 1):  # it is so
                raise ConfigError(
                    f"learner {name} reads the answer of each image from outputs that follow from "
                    f"the scenario: leave out --{option}"
                )
    for field in fields(settings):
        usual = (None, "weight") if field.name == "masks" else (field.default,)  # filled in
        if field.name not in _TAKEN and getattr(settings, field.name) not in usual:
            option = "--jobs" if field.name == "workers" else f"--{field.name.replace('_', '-')}"
            raise ConfigError(
                f"learner {name} has no masks in a memory, and trains in the run's own process: "
                f"leave out {option}, or choose --learner {OURS}"
            )
