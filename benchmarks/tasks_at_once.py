"""Seconds per step and task of T tasks trained at once against one by one, as JSON.

    python benchmarks/tasks_at_once.py [--threads N ...] [--parts P ...] [--rounds R] [--data DIR]

Parts that are measured anew replace those in the file; the others stay.

- LeNet 300-100 with 500 outputs, batches of 128, as permuted-mnist trains it, T = 1, 4, 8, 16, and
  GEM's ResNet-18 in float32, batches of 128 images (3, 32, 32), T = 1, 2, 4.
- A round takes as many task-steps in each way, in turn; a ratio is the median over the rounds of
  seconds at once over seconds one by one. The default on a CPU has the lowest.
- `few`: two steps of LeNet at T = 1 and 2, to see that the script runs.
- `step`: the training step of LeNet against its eight matrix products alone; `operations`: where
  its time goes, by torch's profiler, which costs time itself.
- `bits`: with `--data`, T = 4 permutations of MNIST: the share of mask bits that differ from those
  of the tasks alone after 20, 200 and 1000 steps, and the accuracy of both on held-out images.

Images are random but for `bits`: what a step costs does not depend on them.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import write_json
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import hopmask
from supsup_bridge import FixedNetwork, TrainingSettings, train_masks
from supsup_bridge.data.datasets import load_mnist
from supsup_bridge.data.mnist_variants import permuted
from supsup_bridge.networks.registry import build
from supsup_bridge.rng import stream
from supsup_bridge.runs.presets import preset
from supsup_bridge.training.stack_trainer import StackTrainer

BATCH, SEED, LEARNED = 128, 7, 50_000
LENGTHS = (20, 200, 1000)
AT_ONCE = 4  # permutations in `bits`


def lenet() -> tuple[FixedNetwork, TrainingSettings, tuple[int, ...]]:
    network = _built("lenet-300-100", 784, 500)
    return network, preset("permuted-mnist", "weight").training, (784,)


def gem() -> tuple[FixedNetwork, TrainingSettings, tuple[int, ...]]:
    shape = (3, 32, 32)
    training = preset("split-cifar100", "weight").training
    return (
        _built("gem-resnet18", shape, 10),
        replace(training, augment=None, precision="float32"),
        shape,
    )


def _built(name: str, inputs: int | tuple[int, ...], outputs: int) -> FixedNetwork:
    return build(
        name,
        masks="weight",
        inputs=inputs,
        outputs=outputs,
        bits=0,
        weights=stream(SEED, "network"),
        spread=stream(SEED, "map"),
    )


def stepping(
    network: FixedNetwork, settings: TrainingSettings, shape: tuple[int, ...], tasks: int
) -> Callable[[], None]:
    """One step of so many tasks at once."""
    generators = [stream(SEED, "scores", task) for task in range(tasks)]
    trainer = StackTrainer(network, settings, scores=generators, noise=generators)
    g = stream(SEED, "images")
    images = torch.randn(tasks, BATCH, *shape, generator=g)
    labels = torch.randint(0, 5, (tasks, BATCH), generator=g)

    def step() -> None:
        trainer.step(images, labels).tolist()

    return step


def seconds(function: Callable[[], None], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        function()
    return time.perf_counter() - start


def at_once(
    case: tuple[FixedNetwork, TrainingSettings, tuple[int, ...]],
    counts: list[int],
    *,
    rounds: int,
    task_steps: int,
) -> list[dict[str, Any]]:
    """Each number of tasks at once against as many trainers, one after the other."""
    rows = []
    for count in counts:
        together = stepping(*case, count)
        alone = [stepping(*case, 1) for _ in range(count)]
        steps = max(1, task_steps // count)
        pairs = []
        for turn in range(rounds + 1):
            ours = seconds(together, steps) / steps / count
            theirs = sum(seconds(step, steps) for step in alone) / steps / count
            if turn:  # the first warms up
                pairs.append((ours, theirs))
        rows.append(
            {
                "tasks": count,
                "at_once": median(ours for ours, _ in pairs),
                "one_by_one": median(theirs for _, theirs in pairs),
                "ratio": median(ours / theirs for ours, theirs in pairs),
            }
        )
        print(rows[-1], flush=True)
    return rows


def step_over_products(rounds: int) -> dict[str, float]:
    """A training step of LeNet, and its matrix products alone: three forward, five backward."""
    network, settings, shape = lenet()
    step = stepping(network, settings, shape, 1)
    weights = [value for value in network.state_dict().values() if value.ndim == 2]
    hidden = [torch.randn(BATCH, len(w[0])) for w in weights]
    slopes = [torch.randn(BATCH, len(w)) for w in weights]

    def products() -> None:
        for x, w, g in zip(hidden, weights, slopes, strict=True):
            x @ w.mT
            g.mT @ x
        for w, g in zip(weights[1:], slopes[1:], strict=True):
            g @ w

    turns = range(4 * rounds + 1)
    pairs = [(seconds(step, 20) / 20, seconds(products, 20) / 20) for _ in turns][1:]
    return {
        "step": median(a for a, _ in pairs),
        "products": median(b for _, b in pairs),
        "ratio": median(a / b for a, b in pairs),
    }


def operations(rounds: int) -> dict[str, float]:
    """Milliseconds of a training step of LeNet by operation, what an operation calls left out."""
    step = stepping(*lenet(), 1)
    for _ in range(10):
        step()
    steps = 10 * rounds
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            step()
    times = {row.key: row.self_cpu_time_total / steps / 1000 for row in seen.key_averages()}
    largest = sorted(times, key=lambda name: -times[name])[:10]
    return {**{name: times[name] for name in largest}, "all": sum(times.values())}


def bits(folder: Path) -> list[dict[str, Any]]:
    """How far masks trained at once are from those of the tasks alone."""
    mnist, _ = load_mnist(folder)
    network, settings, _ = lenet()
    tasks, held = [], []
    for number in range(AT_ONCE):
        images = permuted(
            mnist.images, torch.randperm(784, generator=stream(SEED, "order", number))
        )
        tasks.append((images[:LEARNED], mnist.labels[:LEARNED]))
        held.append((images[LEARNED:], mnist.labels[LEARNED:]))
    rows = []
    for length in LENGTHS:
        how = replace(settings, max_batches=length)

        def learned(numbers: list[int], how: TrainingSettings = how) -> list[dict[str, Tensor]]:
            generators = [stream(SEED, "lesson", number) for number in numbers]
            return train_masks(network, [tasks[n] for n in numbers], how, generators=generators)

        ours = learned(list(range(AT_ONCE)))
        theirs = [learned([number])[0] for number in range(AT_ONCE)]
        wrong = sum(int((a[k] != b[k]).sum()) for a, b in zip(ours, theirs, strict=True) for k in a)
        size = sum(mask.numel() for masks in theirs for mask in masks.values())
        rows.append(
            {
                "steps": length,
                "bits_that_differ": wrong / size,
                "accuracy_at_once": accuracy(network, ours, held),
                "accuracy_alone": accuracy(network, theirs, held),
            }
        )
        print(rows[-1], flush=True)
    return rows


def accuracy(
    network: FixedNetwork, masks: list[dict[str, Tensor]], held: list[tuple[Tensor, Tensor]]
) -> float:
    right = []
    for one, (images, labels) in zip(masks, held, strict=True):
        with torch.no_grad():
            right.append((network.predictor(one, images[:1])(images).argmax(-1) == labels).double())
    return float(torch.cat(right).mean())


PARTS: dict[str, Callable[[int], Any]] = {
    "step": step_over_products,
    "operations": operations,
    "lenet": lambda rounds: at_once(lenet(), [1, 4, 8, 16], rounds=rounds, task_steps=64),
    "gem": lambda rounds: at_once(gem(), [1, 2, 4], rounds=rounds, task_steps=4),
    "few": lambda rounds: at_once(lenet(), [1, 2], rounds=rounds, task_steps=2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=["step", "operations", "lenet", "gem"]
    )
    parser.add_argument("--data", type=Path, help="folder of MNIST, for `bits`")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tasks_at_once.json"))
    options = parser.parse_args()
    done: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    done["versions"] = {"hopmask": hopmask.__version__, "torch": torch.__version__}
    for threads in options.threads:
        torch.set_num_threads(threads)
        found = done.setdefault(f"{threads} threads", {})
        for part in options.parts:
            found[part] = PARTS[part](options.rounds)
            write_json(options.out, done)
    if options.data:
        done["bits"] = bits(options.data)
        write_json(options.out, done)


if __name__ == "__main__":
    main()
