"""PermutedMNIST-10 on a network of 784-100-100-10, the setting of winning subnetworks' table; JSON.

    python benchmarks/wsn_setting.py --data DIR --held-out [--names NAME ...]
    python benchmarks/wsn_setting.py --data DIR --names NAME ... --seeds 0 1 2 3 4
    python benchmarks/wsn_setting.py --table

The task is given. `--held-out` learns two other permutations (seed 100) from nine tenths of their
training images and scores the rest: settings are chosen on these. Without it ten are learned, and
scored on half of their test images, after all 60,000 training images, where WSN keeps a tenth of
these for validation. Bytes are those of a packed list of the masks, since the random network is a
seed; shares are of a dense network of 4-byte weights, 357,600 bytes. In the table of Kang et al.
2022 (ICML, five seeds) WSN has 0.9641 at 78 %, PackNet 0.9637, and SupSup 0.9631 at 123 %, where
its random weights count as a dense network.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import read_json, write_json

from supsup_bridge import SupSup, Task, TrainingSettings, permuted_mnist
from supsup_bridge.rng import shuffled, stream
from supsup_bridge.runs import intervals

NETWORK, TASKS, HELD_OUT, SEED = "fc-100-100", 10, 6000, 100
DENSE = 4 * (784 * 100 + 100 * 100 + 100 * 10)
BASE = TrainingSettings(epochs=5, batch=128, rate=3e-3, contrast=0.0)
TRIED: dict[str, tuple[str, dict[str, Any]]] = {  # name -> masks, and what differs in training
    "weight": ("weight", {}),
    "weight, top half": ("weight", {"sparsity": 0.5}),
    "signed": ("signed", {}),
    "signed, rate .001": ("signed", {"rate": 1e-3}),
    "signed, rate .01": ("signed", {"rate": 1e-2}),
    "signed, rate .03": ("signed", {"rate": 3e-2}),
    "signed, averaging .99": ("signed", {"averaging": 0.99}),
    "signed, averaging .995": ("signed", {"averaging": 0.995}),
    "signed, smoothing .1": ("signed", {"smoothing": 0.1}),
    "signed, mixup .3": ("signed", {"mixup": 0.3}),
    "signed, batch 64": ("signed", {"batch": 64}),
    "signed, 10 epochs": ("signed", {"epochs": 10}),
    "signed, 20 epochs": ("signed", {"epochs": 20}),
    "signed, 20 epochs, averaging .99": ("signed", {"epochs": 20, "averaging": 0.99}),
    "signed, 20 epochs, rate .01, averaging .99": (
        "signed",
        {"epochs": 20, "rate": 1e-2, "averaging": 0.99},
    ),
}


def held_out(task: Task, number: int) -> Task:
    """A task that is scored on a tenth of its training images, and taught by the others."""
    order = shuffled(len(task.train_labels), stream(SEED, "held out", number))
    out, kept = order[:HELD_OUT], order[HELD_OUT:]
    images, labels = task.train_images, task.train_labels
    return replace(
        task,
        train_images=images[kept],
        train_labels=labels[kept],
        inference_images=images[:1],
        scored_images=images[out],
        scored_labels=labels[out],
    )


def row_of(name: str, tasks: Sequence[Task], seed: int) -> dict[str, Any]:
    """Learn the tasks one by one, and score each at the end."""
    began = time.monotonic()
    masks, changes = TRIED[name]
    learner = SupSup(
        NETWORK,
        inputs=784,
        outputs=10,
        memory="bank",
        masks=masks,
        seed=seed,
        training=replace(BASE, **changes),
    )
    for task in tasks:
        learner.learn((task.train_images, task.train_labels))
    found = []
    for number, task in enumerate(tasks):
        images, labels = task.scored_images, task.scored_labels
        right = learner.predict(images, task=number).label == labels
        found.append(float(right.double().mean()))
    entries = sum(prod(size) for size in learner.network.mask_sizes.values())  # type: ignore[arg-type]
    packed = len(tasks) * -(-entries // 8)
    return {
        "accuracy": mean(found),
        "accuracy_per_task": found,
        "packed_bytes": packed,
        "share_of_dense": packed / DENSE,
        "seconds": time.monotonic() - began,
        "versions": {"torch": torch.__version__},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each setting: on held-out images, and on test images over the seeds."""
    lines = [
        "| setting | held out | test, ten tasks | seeds | bytes of a dense network |",
        "|---|---|---|---|---|",
    ]
    for name in TRIED:
        mine = [row for row in rows if row["run"]["name"] == name]
        tried = [row["accuracy"] for row in mine if row["run"]["held_out"]]
        tested = [row for row in mine if not row["run"]["held_out"]]
        cells = [name, f"{tried[0]:.4f}" if tried else "–", "–", "–", "–"]
        if tested:
            values = [row["accuracy"] for row in tested]
            between = intervals.over_tasks(values)
            half = f" ± {mean(values) - between[0]:.4f}" if between else ""
            cells[2:4] = f"{mean(values):.4f}{half}", str(len(values))
            cells[4] = f"{tested[0]['share_of_dense']:.0%}"
        if mine:
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--names", nargs="+", default=[*TRIED], choices=TRIED)
    add("--seeds", nargs="+", type=int, default=[0])
    add("--held-out", action="store_true")
    add("--out", type=Path, default=Path("benchmarks/wsn_setting.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    for name in options.names:
        for seed in [SEED] if options.held_out else options.seeds:
            run = {"name": name, "seed": seed, "held_out": options.held_out}
            if any(row["run"] == run for row in read_json(options.out)):
                continue
            tasks = permuted_mnist(
                seed=seed, tasks=2 if options.held_out else TASKS, data=options.data
            )
            cut = [held_out(task, number) for number, task in enumerate(tasks)]
            row = {"run": run, **row_of(name, cut if options.held_out else tasks, seed)}
            write_json(options.out, [*read_json(options.out), row])
            print(run, row["accuracy"], f"{row['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
