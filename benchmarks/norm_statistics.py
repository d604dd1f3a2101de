"""How the statistics of batch norms are best measured for a mask, on held-out training images.

    python benchmarks/norm_statistics.py --data DIR
    python benchmarks/norm_statistics.py --speed      # the seconds of a step alone
    python benchmarks/norm_statistics.py --table

Training images of split-cifar100 alone: masks of gem-resnet18 learn from 2,000 images of a task and
are scored on the 500 others, with the task given. The classes are split by another seed than a
run's. Statistics are measured on images that the mask learned from, not augmented:

- means over batches, each normalised by its own statistics, as `network.statistics` takes them;
- of one batch of all images, so that every layer sees the very statistics that are kept;
- of fewer images.

The script also takes the seconds of a training step (`--batch 128`) in float32 and in bfloat16, one
after the other, and prints their ratio: a step of either is disturbed alike by other work. FILE
has one row of them for processors that suit bfloat16, as `precision="auto"` finds, and one for
those that do not.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from common import read_json, write_json
from torch import Tensor

from supsup_bridge import FixedNetwork, TrainingSettings, train_mask
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.networks import registry
from supsup_bridge.networks.precision import precision_on
from supsup_bridge.rng import stream
from supsup_bridge.training.trainer import MaskTrainer

SEED, LEARNED = 4321, 2000
TRAINING = TrainingSettings(epochs=20, rate=3e-3, contrast=0, precision="bfloat16")
WAYS = (  # images, batch
    *((LEARNED, batch) for batch in (64, 128, 256, 500, LEARNED)),
    *((images, 128) for images in (500, 1000)),
)


def built(outputs: int = 5) -> FixedNetwork:
    return registry.build(
        "gem-resnet18",
        masks="weight",
        inputs=(3, 32, 32),
        outputs=outputs,
        bits=0,
        weights=stream(SEED, "network"),
        spread=stream(SEED, "map"),
    )


def scores(network: FixedNetwork, masks: dict[str, Tensor], held: Any) -> dict[str, float]:
    """Accuracy and cross-entropy on held-out images and labels."""
    images, labels = held
    predict = network.predictor(masks, images[:0])
    with torch.no_grad():
        logits = torch.cat([predict(part) for part in torch.split(images, 250)])
    right = (logits.argmax(-1) == labels).double().mean()
    return {"accuracy": float(right), "loss": float(F.cross_entropy(logits, labels))}


def speed(steps: int, batch: int) -> dict[str, Any]:
    """Seconds of a training step in both precisions."""
    images, labels = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 5
    trainers = {
        precision: MaskTrainer(
            built(),
            replace(TRAINING, precision=precision),
            scores=stream(SEED, "scores"),
            noise=stream(SEED, "noise"),
        )
        for precision in ("float32", "bfloat16")
    }
    seconds: dict[str, list[float]] = {precision: [] for precision in trainers}
    for step in range(steps + 1):
        for precision, trainer in trainers.items():
            began = perf_counter()
            trainer.step(images, labels)
            if step:  # the first one sets everything up
                seconds[precision].append(perf_counter() - began)
    middle = {precision: median(values) for precision, values in seconds.items()}
    ratio = median(a / b for a, b in zip(*seconds.values(), strict=True))
    suits = precision_on("auto", torch.device("cpu"))
    threads = torch.get_num_threads()
    about = {"kind": "speed", "suits": suits, "threads": threads, "batch": batch}
    return {**about, **middle, "ratio": ratio}


def measure_speed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of seconds: the one of this processor anew, and that of the other kind as it stands."""
    row = speed(options.steps, options.batch)
    print(row, flush=True)
    rows = [one for one in read_json(options.out) if one["kind"] == "speed"]
    return [row, *(one for one in rows if one["suits"] != row["suits"])]


def measure(options: argparse.Namespace) -> None:
    rows = measure_speed(options)
    network, tasks = (
        built(),
        task_stream("split-cifar100", seed=SEED, tasks=options.tasks, data=options.data),
    )
    for number in range(options.tasks):
        task = tasks[number]
        order = torch.randperm(len(task.train_labels), generator=stream(SEED, "held", number))
        images, labels = task.train_images[order], task.train_labels[order]
        learn, held = images[: -options.held], (images[-options.held :], labels[-options.held :])
        settings = replace(TRAINING, augment="crop-flip", epochs=options.epochs)
        masks = train_mask(
            network,
            learn,
            labels[: -options.held],
            settings,
            generator=stream(SEED, "mask", number),
        )
        for count, batch in WAYS:
            statistics = network.statistics(masks, torch.split(learn[:count], batch))
            found = scores(network, {**masks, **statistics}, held)
            rows.append({"kind": "way", "task": number, "images": count, "batch": batch, **found})
            print(rows[-1], flush=True)
        write_json(options.out, rows)


def table(rows: list[dict[str, Any]]) -> str:
    """Held-out accuracy and loss of each way, means over the tasks; and the ratio of seconds."""
    lines = ["| images | batch | accuracy | cross-entropy |", "|---|---|---|---|"]
    for count, batch in WAYS:
        ours = [r for r in rows if (r.get("images"), r.get("batch")) == (count, batch)]
        means = [f"{fmean(r[name] for r in ours):.4f}" for name in ("accuracy", "loss")]
        lines.append(f"| {count} | {batch} | {' | '.join(means)} |")
    columns = ("processor suits", "threads", "ratio of seconds, float32 to bfloat16")
    lines += ["", f"| {' | '.join(columns)} |", "|---|---|---|"]
    for row in rows:
        if row["kind"] == "speed":
            lines.append(f"| {row['suits']} | {row['threads']} | {row['ratio']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--tasks", type=int, default=2)
    add("--epochs", type=int, default=TRAINING.epochs)
    add("--held", type=int, default=500, help="images of a task that are scored")
    add("--steps", type=int, default=8, help="training steps whose seconds are taken")
    add("--batch", type=int, default=128, help="images of each of these steps")
    add("--out", type=Path, default=Path("benchmarks/norm_statistics.json"))
    add("--speed", action="store_true", help="take the seconds of a step alone")
    add("--table", action="store_true", help="print the JSON as a Markdown table; run nothing")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
    elif options.speed:
        ways = [row for row in read_json(options.out) if row["kind"] == "way"]
        write_json(options.out, [*measure_speed(options), *ways])
    else:
        measure(options)


if __name__ == "__main__":
    main()
