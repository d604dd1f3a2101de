"""How masks of gem-resnet18 are best trained on few pictures, on held-out training images, as JSON.

    python benchmarks/picture_settings.py --data DIR [--ways NAME ...] [--tasks N] [--epochs N]
    python benchmarks/picture_settings.py --table

Training images of split-cifar100 alone: a mask learns from 2,000 images of a task and is scored on
the 500 others, with the task given. The classes are split by another seed than a run's. Each way is
the preset of split-cifar100 with something changed; rows that stand in FILE are not made again.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from common import read_json, write_json
from norm_statistics import SEED, built, scores

from supsup_bridge import TrainingSettings, train_mask
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.networks.precision import precision_on
from supsup_bridge.rng import stream
from supsup_bridge.runs.presets import preset

WAYS: dict[str, dict[str, Any]] = {
    "preset": {},
    "crop and flip": {"augment": "crop-flip"},
    "not mixed": {"mixup": 0.0},
    "crop and flip, not mixed": {"augment": "crop-flip", "mixup": 0.0},
    "crop and flip alone": {"augment": "crop-flip", "mixup": 0.0, "smoothing": 0.0},
    "not smoothed": {"smoothing": 0.0},
    "averaging 0.97": {"averaging": 0.97},
    "rate 1.5e-3": {"rate": 1.5e-3},
    "rate 6e-3": {"rate": 6e-3},
    "batch 64": {"batch": 64},
    "as they are": {"augment": None, "mixup": 0.0, "smoothing": 0.0},
}


def settings_of(way: str, epochs: int) -> TrainingSettings:
    """How a way trains."""
    usual = preset("split-cifar100", "weight").training
    precision = precision_on(usual.precision, torch.device("cpu"))
    return replace(usual, epochs=epochs, precision=precision, **WAYS[way])


def measured(options: argparse.Namespace, way: str, number: int) -> dict[str, float]:
    """Held-out accuracy and cross-entropy of one task's mask, and the seconds that it took."""
    tasks = task_stream("split-cifar100", seed=SEED, tasks=number + 1, data=options.data)
    task, network = tasks[number], built(preset("split-cifar100", "weight").outputs)
    order = torch.randperm(len(task.train_labels), generator=stream(SEED, "held", number))
    images, labels = task.train_images[order], task.train_labels[order]
    learn, held = images[: -options.held], (images[-options.held :], labels[-options.held :])
    settings = settings_of(way, options.epochs)
    generator, began = stream(SEED, "mask", number), perf_counter()
    masks = train_mask(network, learn, labels[: -options.held], settings, generator=generator)
    seconds = perf_counter() - began
    statistics = network.statistics(masks, torch.split(learn, settings.batch))
    return {**scores(network, {**masks, **statistics}, held), "seconds": seconds}


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the tasks that every way of a number of epochs has, a line for each way."""
    lines = ["| epochs | training | tasks | accuracy | cross-entropy |", "|---|---|---|---|---|"]
    for epochs in sorted({row["training"]["epochs"] for row in rows}):
        ours = [row for row in rows if row["training"]["epochs"] == epochs]
        of_way = {way: [row for row in ours if row["way"] == way] for way in WAYS}
        done = {way: {row["task"] for row in some} for way, some in of_way.items() if some}
        both = set.intersection(*done.values())
        for way in done:
            some = [row for row in of_way[way] if row["task"] in both]
            if some:
                accuracy, loss = (fmean(row[name] for row in some) for name in ("accuracy", "loss"))
                lines.append(f"| {epochs} | {way} | {len(some)} | {accuracy:.4f} | {loss:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    add("--tasks", type=int, default=2)
    add("--epochs", type=int, default=60)
    add("--held", type=int, default=500, help="images of each task that are not learned")
    add("--out", type=Path, default=Path("benchmarks/picture_settings.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    for number in range(options.tasks):
        for way in options.ways:
            training = asdict(settings_of(way, options.epochs))
            key = {"way": way, "task": number, "held": options.held, "training": training}
            if any(all(row[n] == key[n] for n in key) for row in read_json(options.out)):
                continue
            row = {**key, **measured(options, way, number)}
            write_json(options.out, [*read_json(options.out), row])
            print(row, flush=True)


if __name__ == "__main__":
    main()
