"""Masks over a pre-trained backbone, beside masks over fixed random weights, as JSON.

    python benchmarks/backbone.py --data DIR [--pairs NAME ...] [--per-class N ...] [--seeds S ...]
    python benchmarks/backbone.py --data DIR --pairs cifar100    # the same on CIFAR-100
    python benchmarks/backbone.py --table    # of the rows in FILE

A backbone is trained densely on some classes. Its last layer is then drawn anew, as it belongs to
these classes, and masks are learned over it for tasks of other classes (`weights="given"`,
Piggyback), from the whole network or from a random mask. Beside it, masks over the same network
with fixed random weights, for as many steps. Judged with the task given (GG). The weights of a
backbone have to be kept, at 4 bytes each; a fixed random network costs its seed.

| pair | backbone | tasks of five classes each, which the seed draws |
|---|---|---|
| digits | five classes of MNIST | the other five, one task |
| clothes-digits | Fashion-MNIST | MNIST, two |
| letters-digits | notMNIST | MNIST, two |
| digits-clothes | MNIST | Fashion-MNIST, two |
| cifar100 | 25 classes of CIFAR-100, gem-resnet18 | 25 others, five |

`--per-class N` gives a task so few training images of each class (0: all), with the same number of
steps. `--held-out` scores a fifth of the training images in place of the scored ones, and does not
learn them: settings are chosen so. Rows are written as they come; what stands in FILE is not made
again.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import read_json, write_json
from torch import Tensor, nn

from supsup_bridge import SupSup, Task, TrainingSettings, fix_weights
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.networks.resnets import gem_resnet18
from supsup_bridge.rng import shuffled, stream, stream_seed
from supsup_bridge.runs.metrics import csc_bytes, packed_bytes
from supsup_bridge.runs.settings import power_of_two

BATCH, CLASSES = 128, 5  # images a step, classes of a task
WAYS = {  # weights and start of scores -> rate, chosen on held-out images of letters-digits
    ("given", "ones"): 3e-3,
    ("given", "random"): 1e-2,
    ("fixed", "random"): 3e-3,
}
PAIRS = {  # set and tasks of the backbone, set and tasks for the masks
    "digits": ("mnist", slice(0, 1), "mnist", slice(1, 2)),
    "clothes-digits": ("fashion-mnist", slice(None), "mnist", slice(None)),
    "letters-digits": ("notmnist", slice(None), "mnist", slice(None)),
    "digits-clothes": ("mnist", slice(None), "fashion-mnist", slice(None)),
    "cifar100": ("cifar100", slice(15, 20), "cifar100", slice(0, 5)),
}


def tasks_of(name: str, which: slice, *, data: Path | None, seed: int) -> Sequence[Task]:
    """Tasks of five classes of a data set."""
    place = data if name == "cifar100" or data is None else data / name
    benchmark = "split-cifar100" if name == "cifar100" else "idx"
    return task_stream(benchmark, seed=seed, tasks=None, data=place, classes_per_task=CLASSES)[
        which
    ]


def network(shape: Sequence[int], outputs: int) -> nn.Module:
    """Two convolutions and two layers for flat images of 28×28 pixels, or a small ResNet-18."""
    if len(shape) == 3:
        return gem_resnet18(shape, outputs)
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *(nn.Conv2d(1, 16, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(800, 128, bias=False), nn.ReLU()),
        nn.Linear(128, outputs, bias=False),
    )


def joined(tasks: Sequence[Task], part: str) -> tuple[Tensor, Tensor]:
    """Images and labels of all tasks as of one, a class being another in each task."""
    images = torch.cat([getattr(task, f"{part}_images") for task in tasks])
    labels = [getattr(task, f"{part}_labels") + CLASSES * n for n, task in enumerate(tasks)]
    return images, torch.cat(labels)


def backbone(tasks: Sequence[Task], *, epochs: int, seed: int) -> tuple[nn.Module, float]:
    """A network trained densely on tasks as one, and its accuracy on their scored images."""
    images, labels = joined(tasks, "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "backbone"))
        module = network(images.shape[1:], CLASSES * len(tasks)).train()
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = stream(seed, "backbone", 1)
    for _ in range(epochs):
        for chosen in torch.split(shuffled(len(images), order), BATCH):
            optimiser.zero_grad()
            F.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    images, labels = joined(tasks, "scored")
    with torch.no_grad():
        found = torch.cat([module.eval()(part).argmax(-1) for part in torch.split(images, 500)])
    return module, float((found == labels).float().mean())


def with_new_outputs(module: nn.Module, *, seed: int) -> nn.Module:
    """A copy whose last layer is drawn anew: its classes are not those of the tasks."""
    copy = deepcopy(module)
    last = [layer for layer in copy.modules() if isinstance(layer, nn.Linear)][-1]
    fix_weights(last, stream(seed, "outputs"))
    return copy


def cut(task: Task, *, per_class: int, held_out: bool, seed: int) -> Task:
    """A task with fewer training images, or one that is scored on a fifth of them."""
    images, labels = task.train_images, task.train_labels
    order = shuffled(len(labels), stream(seed, "few"))
    scored = {"scored_images": task.scored_images, "scored_labels": task.scored_labels}
    if held_out:
        out, order = order[: len(order) // 5], order[len(order) // 5 :]
        scored = {"scored_images": images[out], "scored_labels": labels[out]}
    if per_class:
        found = [order[labels[order] == label][:per_class] for label in range(CLASSES)]
        order = torch.cat(found)
    return replace(
        task,
        train_images=images[order],
        train_labels=labels[order],
        inference_images=task.inference_images,
        **scored,
    )


def learned(module: nn.Module, tasks: Sequence[Task], options: dict[str, Any]) -> dict[str, Any]:
    """Figures of the masks of some tasks over one network."""
    began = time.monotonic()
    learner = SupSup(
        module.train(),  # a batch norm has statistics of its own for every task
        weights=options["weights"],
        mask_init=options["start"],
        seed=options["seed"],
        hubs=power_of_two(len(tasks)),
        signature_features=0,
        training=TrainingSettings(
            batch=BATCH,
            rate=options["rate"],
            contrast=0,
            epochs=options["steps"],
            max_batches=options["steps"],
        ),
    )
    right, csc = [], 0
    for task in tasks:
        number = learner.learn((task.train_images, task.train_labels))
        csc += csc_bytes(learner.memory.recall(task=number).masks)
        found = learner.predict(task.scored_images, task=number).label
        right.append(float((found == task.scored_labels).float().mean()))
    kept = sum(4 * value.numel() for value in module.parameters())
    return {
        "accuracy": sum(right) / len(right),
        "accuracy_per_task": right,
        "bytes": {
            "memory": learner.memory.nbytes,
            "packed_masks": packed_bytes(learner.network.mask_sizes, len(tasks)),
            "csc_masks": csc,
            "backbone": kept if options["weights"] == "given" else 0,
        },
        "seconds": time.monotonic() - began,
    }


def wanted(
    pair: str, seed: int, options: argparse.Namespace, done: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Options of the rows of a pair of sets that are not done."""
    rows = []
    for per_class in options.per_class:
        for (weights, start), rate in WAYS.items():
            row = {"pair": pair, "per_class": per_class, "seed": seed, "steps": options.steps}
            row |= {"weights": weights, "start": start, "rate": options.rate or rate}
            rows.append({**row, "epochs": options.epochs, "held_out": options.held_out})
    there = [row["options"] for row in done]
    return [row for row in rows if row not in there]


def rows_of(wanted: list[dict[str, Any]], data: Path | None) -> Iterator[dict[str, Any]]:
    """Rows of one pair of sets and one seed, over one backbone."""
    pair, seed = wanted[0]["pair"], wanted[0]["seed"]
    before, some, after, others = PAIRS[pair]
    dense = tasks_of(before, some, data=data, seed=seed)
    module, own = backbone(dense, epochs=wanted[0]["epochs"], seed=seed)
    module = with_new_outputs(module, seed=seed)
    tasks = tasks_of(after, others, data=data, seed=seed)
    for options in wanted:
        few = [
            cut(task, per_class=options["per_class"], held_out=options["held_out"], seed=seed)
            for task in tasks
        ]
        yield {"options": options, **learned(module, few, options), "backbone_accuracy": own}


def table(done: list[dict[str, Any]]) -> str:
    """Means over the seeds, a line for each way."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in done:
        options = row["options"]
        images = options["per_class"] or "all"
        part = "held-out training images" if options["held_out"] else "test images"
        key = (options["pair"], str(images), options["weights"], options["start"])
        groups.setdefault((*key, f"{options['rate']:g}", part), []).append(row)
    lines = [
        "| pair | images per class | weights | start | rate | scored | accuracy | seeds "
        "| packed masks, kB | sparse columns, kB | backbone, kB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, rows in sorted(groups.items()):
        accuracy = sum(row["accuracy"] for row in rows) / len(rows)
        kept = [
            f"{sum(row['bytes'][name] for row in rows) / len(rows) / 1e3:.0f}"
            for name in ("packed_masks", "csc_masks", "backbone")
        ]
        lines.append(f"| {' | '.join([*key, f'{accuracy:.4f}', str(len(rows)), *kept])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, help="holds a folder for each set: mnist, fashion-mnist, notmnist")
    add("--pairs", nargs="+", choices=PAIRS, default=[pair for pair in PAIRS if pair != "cifar100"])
    add("--per-class", type=int, nargs="+", default=[0, 20])
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--epochs", type=int, default=2, help="of the backbone")
    add("--steps", type=int, default=200, help="of each mask")
    add("--rate", type=float, help="of each mask, in place of those chosen")
    add("--held-out", action="store_true")
    add("--out", type=Path, default=Path("benchmarks/backbone.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    done = read_json(options.out)
    if options.table:
        print(table(done))
        return
    for pair in options.pairs:
        for seed in options.seeds:
            rows = wanted(pair, seed, options, done)
            for row in rows_of(rows, options.data) if rows else ():
                done.append(row)
                write_json(options.out, done)
                print(table([row]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
