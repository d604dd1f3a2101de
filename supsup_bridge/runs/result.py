"""result.json: what a run reports."""

import platform
from dataclasses import asdict
from typing import Any, Protocol

import h5py
import numpy as np
import torch

import hopmask
from hopmask import MaskMemory
from supsup_bridge.continual.inferences import Memory
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.continual.task_agnostic.novelty import NoveltyTest
from supsup_bridge.inference.named import follows_gradient
from supsup_bridge.inference.paper import PAPER_STEPS
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.networks.masked import PER_WEIGHT
from supsup_bridge.runs import metrics
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.timing import Stopwatch

OF_MASKS = ("packed_masks", "csc_masks", "extras")  # bytes beside those of the memory


class Reported(Protocol):
    """What a result needs of a run: an `Experiment`."""

    ledger: Ledger
    watch: Stopwatch

    @property
    def settings(self) -> RunSettings: ...

    @property
    def preset(self) -> Preset: ...

    @property
    def samples(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def network(self) -> FixedNetwork: ...

    @property
    def memory(self) -> Memory: ...

    @property
    def hopfield(self) -> MaskMemory: ...

    @property
    def free(self) -> TaskAgnosticLearner | None: ...


def result_of(run: Reported) -> dict[str, Any]:
    """The figures of `result.json`, of the tasks evaluated so far."""
    scores, settings = run.ledger.scores, run.settings
    return {
        "format": 1,
        "benchmark": settings.benchmark,
        "scenario": settings.scenario,
        "learner": settings.learner,
        "memory": settings.memory,
        "masks": settings.masks,
        "tasks": settings.tasks,
        "seed": settings.seed,
        "infer_samples": run.samples,
        "protocol": settings.protocol,
        "network": run.preset.network,
        **run.ledger.figures(),
        "masks_allocated": run.memory.count,
        "novelty": None if run.free is None else asdict(run.free.log),
        "bytes": _bytes(run),
        "recall": {
            "steps_mean": scores.rate(scores.steps),
            "steps_max": max(scores.most_steps.values(), default=None),
            "verified_rate": scores.rate(scores.verified),
            "samples": sum(scores.inferences.values()),
            "images": run.samples * (PAPER_STEPS if settings.network == "paper" else 1),
        },
        "seconds": run.watch.seconds(),
        "settings": asdict(settings),
        "config": _config(run),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what figures depend on."""
    return {
        "hopmask": hopmask.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "h5py": h5py.__version__,
    }


def _bytes(run: Reported) -> dict[str, int]:
    return {
        "memory": run.memory.nbytes,
        "packed_masks": metrics.packed_bytes(run.network.mask_sizes, run.memory.count),
        "csc_masks": sum(run.ledger.csc),
        "extras": metrics.extras_bytes(run.network.statistics_sizes, run.memory.count),
    }


def _config(run: Reported) -> dict[str, Any]:
    settings = run.settings
    named = ("recall", "inference", "objective", "rule", "hubs", "precision", "signature_groups")
    chosen: dict[str, Any] = dict.fromkeys(named)
    given = settings.scenario == "GG"
    if run.free is not None:
        chosen["ask_every"] = run.free.ask_every
    if run.free is not None and isinstance(run.free.test, NoveltyTest):
        chosen["epsilon"] = run.free.test.epsilon
    if settings.memory == "hopfield":
        usual = "entropy" if settings.network == "paper" else run.preset.recall
        chosen["recall"] = None if given else usual
        chosen["signature_features"] = run.preset.features
        chosen["signature"] = run.preset.signature if run.preset.features else None
        chosen["rule"] = run.hopfield.rule_name
        if settings.masks in PER_WEIGHT:
            chosen["hubs"] = run.hopfield.capacity
            chosen["signature_groups"] = run.hopfield.signature_groups
            chosen["precision"] = str(run.hopfield.couplings.narrow.dtype).removeprefix("torch.")
            if chosen["recall"] in ("both", "entropy"):
                chosen["objective"] = run.preset.objective
    elif not given:
        chosen["inference"] = run.preset.inference
        if follows_gradient(run.preset.inference):
            chosen["objective"] = run.preset.objective
    return {
        **asdict(settings),
        **chosen,
        "network": run.preset.network,
        "output_size": run.preset.outputs,
        "device": str(run.device),
        "threads": torch.get_num_threads(),
        "layers": run.network.mask_sizes,
        "preset": asdict(run.preset),
    }
