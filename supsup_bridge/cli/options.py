"""The options that `supsup run` and `supsup learn` share."""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hopmask import ConfigError
from supsup_bridge.continual.settings import INITS
from supsup_bridge.data.benchmarks import BENCHMARKS
from supsup_bridge.inference.named import INFERENCES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.runs.engines import ENGINES
from supsup_bridge.runs.settings import SCENARIOS, RunSettings
from supsup_bridge.runs.workers import Workers

_DEFAULTS = {field.name: field.default for field in fields(RunSettings)}


def workers_of(given: dict[str, Any], *, jobs: int | None = None) -> Workers | None:
    """Who trains, of the options `jobs` and `engine`, which are taken out; None for the run itself.

    Args:
        given: options by name.
        jobs: how many, where the options do not say so.

    Raises:
        ConfigError: an engine without a number of jobs.
    """
    jobs, engine = given.pop("jobs", jobs), given.pop("engine", None)
    if jobs is not None:
        return Workers(jobs=jobs, engine=engine or "loky")
    if engine is not None:
        raise ConfigError(f"--engine {engine} is where workers come from: say how many, --jobs N")
    return None


def add_options(command: argparse.ArgumentParser) -> None:
    """Add them; an option's name is that of its setting, and is set only if it is given."""

    def add(*names: str, help: str, **how: Any) -> None:
        default = _DEFAULTS.get(names[0].lstrip("-").replace("-", "_"))
        command.add_argument(*names, help=help.format(default=default), **how)

    add(
        "benchmark",
        nargs="?",
        default=argparse.SUPPRESS,
        help=f"{', '.join(BENCHMARKS)} (default: {{default}})",
    )
    add("--scenario", help=f"{', '.join(SCENARIOS)} (default: {{default}})")
    add("--memory", help="{default} (default) or bank: every mask, one bit per mask bit")
    add("--masks", help="weight (default): a bit cuts a weight; signed: flips it; hashed; or unit")
    add("--bits", type=int, help="mask bits (hashed) or hidden units per layer (unit)")
    add("--hubs", type=int, help="hopfield, weight masks: a power of two (default: as tasks need)")
    add("--recall", help=f"hopfield: {', '.join(RECALLS)}, posterior (default: the benchmark's)")
    add(
        "--rule",
        help="hopfield, hashed or unit masks: storkey, storkey-matrix, hebbian, projection",
    )
    add("--signature", help="hopfield: input, patches, outputs, gradient, package.module:function")
    add(
        "--signature-features",
        type=int,
        help="hopfield: size of the content address; 0: none, recall by entropy (default: the "
        "benchmark's)",
    )
    add("--inference", help=f"bank: {', '.join(INFERENCES)} (default: the benchmark's)")
    add("--objective", help="weight masks: H, entropy, or G, superfluous outputs")
    add("--output-size", type=int, help="output units, superfluous ones included")
    add("--sparsity", type=float, help="share of weights that a mask keeps (default: no limit)")
    add("--mask-init", help=f"where scores start: {', '.join(INITS)} (default: the benchmark's)")
    add("--batches", type=int, help="training steps per task (default: the benchmark's)")
    add("--train-in", help="float32 or bfloat16 (default: what suits benchmark and device)")
    add("--augment", help="pictures: strong (default), crop-flip (better for few steps) or none")
    add(
        "--network",
        help="lenet-300-100, fc-1024-1024, layer-norm, package.module:function (called with inputs "
        "and outputs), or paper: batch-norm and the paper's schedule (default: the benchmark's)",
    )
    add(
        "--classes-per-task",
        type=int,
        help="CIFAR, ImageNet, folder, idx: classes of a task (default: the benchmark's)",
    )
    add("--seed", type=int, help="of everything (default: {default})")
    add("--infer-samples", type=int, help="images that one inference sees, of --protocol batch")
    add("--protocol", help="{default} (default): a task for 128 images; image: one for each")
    add(
        "--epsilon",
        type=float,
        help="NNs on a bank: a mask is recognized from 1/EPSILON sigma on (0.04)",
    )
    add(
        "--ask-every",
        type=int,
        help="NNs: batches between novelty tests (default: the benchmark's)",
    )
    add("--budget", type=int, help="NNs: masks at most (default: no limit)")
    add("--data", type=Path, help="where the data set's files lie (default: $HOPMASK_DATA)")
    add("--device", help="{default} (default), cpu or cuda")
    add("--quick", action="store_true", help="20 training steps per task: a look, not a result")
    add(
        "--jobs",
        type=int,
        help="train in so many worker processes, with one thread each (learn: 1)",
    )
    add("--engine", help=f"where the workers of --jobs come from: {', '.join(ENGINES)} (loky)")


def check_code_named(settings: RunSettings, given: Mapping[str, Any]) -> None:
    """Raise ConfigError unless code of the user's that a file names was named by the user, too."""
    for name in ("network", "signature"):
        own, named = getattr(settings, name), given.get(name)
        if named is not None and named != own:
            raise ConfigError(f"the run has --{name} {own}: leave it out")
        if ":" in str(own) and named is None:
            raise ConfigError(
                f"the run calls code of yours, --{name} {own}: name it here, too, so that nothing "
                "is run that only a file names"
            )
