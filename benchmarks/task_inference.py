"""Learned tasks that are no longer named: what each content address and recall is worth, as JSON.

    python benchmarks/task_inference.py --learner FOLDER --data DIR [--benchmark split-cifar100]
        [--classes-per-task N] [--signatures input patches features] [--samples 1 8 128]
        [--ways posterior "address alone" "entropy alone" both]
    python benchmarks/task_inference.py --table

FOLDER holds a learner that `supsup run` or `benchmarks/pictures.py` saved. Its masks and
statistics are taken from its memory and stored in a new one with each signature, so that all rows
are of the same masks. "input" are the pixels, "patches" answers to random filters, and "features"
what the network itself makes of an image under the mask of the first task: the mean over places of
what enters each of its layers, standardised on that task's training images.

"posterior", "address alone" and "entropy alone" are those of `image_protocol.py`; "both" is the
recall by the gradient and the address. GNu counts an answer of another task as wrong, GNs its label
alone.
"""

import argparse
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import read_json, write_json
from image_protocol import WAYS
from torch import Tensor, nn

from hopmask import MaskMemory
from supsup_bridge import PosteriorInference, SupSup, Task
from supsup_bridge.continual.scoring import Protocol, TaskScore, score
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.inference.signatures import Signature, signature_named
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.runs.settings import power_of_two
from supsup_bridge.runs.timing import Stopwatch

SIGNATURES = ("input", "patches", "features")
_IMAGES = 512  # in one forward pass


class Features:
    """What enters each layer of a network, averaged over places and standardised.

    Args:
        network: with masked layers.
        masks: a task's masks and statistics.
        images: whose features have mean 0 and deviation 1, (n, *shape).
    """

    def __init__(self, network: MaskedNetwork, masks: Mapping[str, Tensor], images: Tensor) -> None:
        self._network, self._masks = network, masks
        found = self._raw(images)
        spread = found.std(0)
        self._mean, self._spread = found.mean(0), spread.clamp_min(0.1 * float(spread.mean()))

    def __call__(self, images: Tensor) -> Tensor:
        return (self._raw(images) - self._mean) / self._spread

    def _raw(self, images: Tensor) -> Tensor:
        return torch.cat([self._part(part) for part in torch.split(images, _IMAGES)])

    def _part(self, images: Tensor) -> Tensor:
        entered: list[Tensor] = []

        def note(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            entered.append(inputs[0].flatten(2).mean(-1) if inputs[0].ndim == 4 else inputs[0])

        layers = [
            layer
            for layer in self._network.module.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]
        hooks = [layer.register_forward_pre_hook(note) for layer in layers]
        try:
            with torch.no_grad():
                self._network(images, self._masks)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(entered, 1)


def signature_of(name: str, learner: SupSup, tasks: Sequence[Task]) -> Signature:
    """A signature by its name in `SIGNATURES`."""
    network = learner.network
    if name != "features":
        return signature_named(name, network, seed=learner.settings.seed)
    if not isinstance(network, MaskedNetwork):
        raise SystemExit(f"features are of a masked module, not of {type(network).__name__}")
    first = learner.memory.recall(task=0)
    return Features(network, {**first.masks, **first.extras}, tasks[0].train_images)


def stored(
    learner: SupSup, tasks: Sequence[Task], signature: Signature, features: int
) -> MaskMemory:
    """The learner's masks and statistics in a new memory, with this signature."""
    held = learner.memory
    memory = MaskMemory(
        learner.network.mask_sizes,
        couplings="hub",
        hubs=power_of_two(len(tasks)),
        extras=learner.network.statistics_sizes,
        seed=learner.settings.seed,
        signature_features=features,
        signature_groups=max(task.classes for task in tasks),
    )
    for number, task in enumerate(tasks):
        hit = held.recall(task=number)
        if not hit.verified:
            raise RuntimeError(f"task {number} cannot be recalled exactly")
        signs = signature(task.train_images)
        memory.store(
            hit.masks, task=number, signature=signs, groups=task.train_labels, extras=hit.extras
        )
    return memory


def inferences(
    learner: SupSup, memory: MaskMemory, signature: Signature, ways: Sequence[str]
) -> dict[str, TaskInference]:
    """Name of each of these ways -> what infers the task."""
    common: dict[str, Any] = {
        "network": learner.network,
        "memory": memory,
        "signature": signature,
    }

    def made(way: str) -> TaskInference:
        if way == "both":
            return RecallInference(recall="both", **common)
        return PosteriorInference(weights=WAYS[way], **common)

    return {way: made(way) for way in ways}


def row(
    found: Sequence[TaskScore], memory: MaskMemory, watch: Stopwatch, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Means over the tasks."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    hits = [hit for part in found for hit in part.inferred]
    address = memory.address.nbytes
    return {
        **about,
        "tasks": len(found),
        "GNu": mean([part.joint for part in found]),
        "GNs": mean([part.label for part in found]),
        "GG": mean([part.given for part in found]),
        "task_right": mean(hits),
        "exact": mean([exact for part in found for exact in part.exact]),
        "inferences": len(hits),
        "bytes": {"memory": memory.nbytes, "without_address": memory.nbytes - address},
        "seconds": watch.seconds(),
    }


def table(done: Sequence[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        "| benchmark | tasks × classes | steps | sparsity | seed | one inference sees | signature "
        "| recall | task right | GNu | GNs | GG | inferences |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in done:
        sees = "each image itself" if one["protocol"] == "image" else f"{one['samples']} images"
        share = (
            "–" if one["sparsity"] is None else str(Fraction(one["sparsity"]).limit_denominator(99))
        )
        cells = [one["benchmark"], f"{one['tasks']} × {one['classes']}", str(one["steps"]), share]
        cells += [str(one["seed"]), sees, one["signature"], one["way"]]
        cells += [f"{one[name]:.4f}" for name in ("task_right", "GNu", "GNs", "GG")]
        lines.append(f"| {' | '.join([*cells, str(one['inferences'])])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--learner", type=Path)
    add("--data", type=Path)
    add("--benchmark", default="split-cifar100")
    add("--classes-per-task", type=int)
    add("--samples", type=int, nargs="*", default=[1, 8, 128])
    add("--signatures", nargs="+", default=list(SIGNATURES), choices=SIGNATURES)
    add("--ways", nargs="+", default=[*WAYS, "both"], choices=[*WAYS, "both"])
    add("--features", type=int, default=2048, help="random features of the address")
    add("--out", type=Path, default=Path("benchmarks/task_inference.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    if options.learner is None:
        parser.error("give --learner, the folder of a saved learner")
    learner = SupSup.load(options.learner)
    seed = learner.settings.seed
    tasks = task_stream(
        options.benchmark,
        seed=seed,
        tasks=len(learner.tasks),
        data=options.data,
        classes_per_task=options.classes_per_task,
    )
    if learner.image_shape != tuple(tasks[0].scored_images.shape[1:]):
        parser.error(f"the learner takes images {learner.image_shape}: give its --benchmark")
    protocols = [("image", 1), *(("batch", samples) for samples in options.samples)]
    for name in options.signatures:
        signature = signature_of(name, learner, tasks)
        memory = stored(learner, tasks, signature, options.features)
        measured = partial(scores, learner, memory, tasks)
        for way, inference in inferences(learner, memory, signature, options.ways).items():
            for protocol, samples in protocols:
                if (way, protocol) == ("both", "image"):
                    continue  # a search for every image: hours
                watch = Stopwatch("recall", "evaluate")
                about = {
                    "benchmark": options.benchmark,
                    "classes": tasks[0].classes,
                    "steps": learner.settings.training.max_batches,
                    "sparsity": learner.settings.training.sparsity,
                    "seed": seed,
                    "signature": name,
                    "features": options.features,
                    "way": way,
                    "protocol": protocol,
                    "samples": samples,
                }
                found = measured(inference, protocol, samples, watch)
                done = [*read_json(options.out), row(found, memory, watch, about)]
                write_json(options.out, done)
                print(table(done[-1:]).splitlines()[-1], flush=True)


def scores(
    learner: SupSup,
    memory: MaskMemory,
    tasks: Sequence[Task],
    inference: TaskInference,
    protocol: str,
    samples: int,
    watch: Stopwatch,
) -> list[TaskScore]:
    """What is measured on each task."""
    found = []
    for number, task in enumerate(tasks):
        hit = memory.recall(task=number)
        drawn = stream(learner.settings.seed, "evaluation", len(tasks) - 1, number)
        part = score(
            learner.network,
            task,
            {**hit.masks, **hit.extras},
            inference,
            Protocol(protocol, samples, drawn),
            accepted={number: mask_digest(hit.masks)},
            device=learner.network.device,
            watch=watch,
        )
        found.append(part)
    return found


if __name__ == "__main__":
    main()
