"""How the rate of a mask's training should fall, measured on held-out training images.

    python benchmarks/schedules.py --data DIR
    python benchmarks/schedules.py --table

MNIST's training images alone: a mask learns from the first 50,000 and is scored on the last 10,000,
with the task given; the permutations are others than a run's. The digits are split by other seeds
than a run's. Network, outputs and training are those of the presets; crossed are

- the rate at step t of n: cosine, (1 + cos(π t / n)) / 2, which needs n; or 1 / (1 + t / 400);
- the mask: of the last scores; of their moving average, of which a step leaves 0.97; or of one that
  grows with the steps: step t leaves (1 + t) / (10 + t) of it, 0.97 at most.

`MaskTrainer` takes 1 / (1 + t / 400) and the growing average.

All schedules of one task start from the same scores and see the same batches.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from supsup_bridge import FixedNetwork, TrainingSettings, split_digits
from supsup_bridge.data.datasets import load_mnist
from supsup_bridge.data.labelled import LabelledImages
from supsup_bridge.data.mnist_variants import permuted
from supsup_bridge.networks import registry
from supsup_bridge.rng import stream
from supsup_bridge.runs.presets import preset
from supsup_bridge.training.batches import Batches
from supsup_bridge.training.descent import optimiser_of
from supsup_bridge.training.loss import MaskLoss
from supsup_bridge.training.scores import binariser, starting_scores

SEED, LEARNED = 1234, 50_000
TAU, FADING = 400, 0.97
RATES, MASKS = ("cosine", "1/(1+t/400)"), ("last", "averaged", "growing")
CASES = (
    ("permuted-mnist", "hashed"),
    ("permuted-mnist", "weight"),
    ("split-mnist", "hashed"),
    ("split-mnist", "weight"),
    ("split-digits", "hashed"),
    ("split-digits", "weight"),
    ("permuted-mnist", "unit"),
)
Part = tuple[Tensor, Tensor]  # images, labels


def task_of(benchmark: str, number: int, mnist: LabelledImages) -> tuple[Part, Part]:
    """Images and labels to learn from, and those held out."""
    if benchmark == "split-digits":
        task = split_digits(seed=SEED + number)[2 * number % 5]
        return (task.train_images, task.train_labels), (task.scored_images, task.scored_labels)
    images, labels = mnist.images, mnist.labels
    learn, held = torch.arange(LEARNED), torch.arange(LEARNED, len(images))
    if benchmark == "permuted-mnist":
        order = torch.randperm(images.shape[1], generator=stream(SEED, "order", number))
        images = permuted(images, order)
    else:
        pair = 2 * number % 5
        learn, held = (part[labels[part] // 2 == pair] for part in (learn, held))
        labels = labels - 2 * pair
    return (images[learn], labels[learn]), (images[held], labels[held])


def accuracy(network: FixedNetwork, masks: dict[str, Tensor], held: Part) -> float:
    images, labels = held
    predict = network.predictor(masks, images[:0])
    right = [predict(part).argmax(-1) for part in torch.split(images, 1000)]
    return float((torch.cat(right) == labels).double().mean())


def trained(
    network: FixedNetwork,
    learn: Part,
    held: Part,
    settings: TrainingSettings,
    number: int,
    rate: str,
    lengths: Sequence[int],
) -> Iterator[tuple[int, str, float]]:
    """Length, kind of mask and held-out accuracy, at each of some lengths of one training."""
    images, labels = learn
    steps = max(lengths)
    settings = replace(settings, max_batches=steps, epochs=steps)
    binarise = binariser(network, settings.sparsity)
    start = starting_scores(network, stream(SEED, "scores", number), binarise=binarise)
    scores = {name: score[None].requires_grad_() for name, score in start.items()}
    averages = {name: score.detach().clone() for name, score in scores.items()}
    growing = {name: score.detach().clone() for name, score in scores.items()}
    noise = stream(SEED, "noise", number)
    loss = MaskLoss(network=network, binarise=binarise, settings=settings, noise=[noise])
    optimiser = optimiser_of(scores, network.score_bounds, settings)
    schedule: torch.optim.lr_scheduler.LRScheduler
    if rate == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 1 / (1 + t / TAU))
    batches = Batches(len(images), settings, stream(SEED, "batches", number))
    for chosen in batches:
        optimiser.zero_grad()
        losses = loss(scores, images[chosen][None], labels[chosen][None], step=batches.done)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        grown = min(FADING, (1 + batches.done) / (10 + batches.done))
        for kept, fading in ((averages, FADING), (growing, grown)):
            for name, average in kept.items():
                average.lerp_(scores[name].detach(), 1 - fading)
        if batches.done in lengths:
            for kind, read in zip(MASKS, (scores, averages, growing), strict=True):
                with torch.no_grad():
                    found = binarise(read, stacked=True)
                    masks = {name: mask[0] > 0.5 for name, mask in found.items()}
                    yield batches.done, kind, accuracy(network, masks, held)


def measure(options: argparse.Namespace) -> None:
    mnist, _ = load_mnist(options.data)
    rows: list[dict[str, Any]] = []
    for benchmark, masks in CASES:
        chosen = preset(benchmark, masks)
        for number in range(options.tasks):
            learn, held = task_of(benchmark, number, mnist)
            network = registry.build(
                chosen.network,
                masks=masks,
                inputs=learn[0].shape[1],
                outputs=chosen.outputs,
                bits=chosen.bits,
                weights=stream(SEED, "network"),
                spread=stream(SEED, "map"),
            )
            # without a known end one training serves all lengths
            runs = [("cosine", [length]) for length in options.batches]
            runs.append(("1/(1+t/400)", options.batches))
            for rate, lengths in runs:
                for length, kind, found in trained(
                    network, learn, held, chosen.training, number, rate, lengths
                ):
                    case = {"benchmark": benchmark, "masks": masks, "batches": length}
                    about = {**case, "rate": rate, "mask": kind, "task": number}
                    rows.append({**about, "accuracy": found})
                    options.out.write_text(json.dumps(rows, indent=1) + "\n")
                    print(rows[-1], flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Held-out accuracy of each schedule, and how far it lies above cosine's last scores."""
    ways = [(rate, mask) for rate in RATES for mask in MASKS]
    heads = [f"{rate}, {mask}" for rate, mask in ways]
    lines = [
        f"| benchmark | masks | batches | {' | '.join(heads)} |",
        "|" + "---|" * (3 + len(ways)),
    ]
    for benchmark, masks in CASES:
        ours = [r for r in rows if (r["benchmark"], r["masks"]) == (benchmark, masks)]
        for length in sorted({r["batches"] for r in ours}):
            found = {
                way: [
                    r["accuracy"]
                    for r in ours
                    if (r["batches"], r["rate"], r["mask"]) == (length, *way)
                ]
                for way in ways
            }
            cells = []
            for way in ways:
                ahead = [a - b for a, b in zip(found[way], found[ways[0]], strict=False)]
                text = f"{fmean(found[way]):.4f}" if ahead else "–"
                if way != ways[0] and len(ahead) > 1:
                    text += f" ({fmean(ahead):+.4f} ± {stdev(ahead) / len(ahead) ** 0.5:.4f})"
                cells.append(text)
            lines.append(f"| {benchmark} | {masks} | {length} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add(
        "--batches",
        type=int,
        nargs="+",
        default=[50, 100, 200, 500, 1000],
        help="lengths of training",
    )
    add("--tasks", type=int, default=3, help="permutations, pairs of digits")
    add("--out", type=Path, default=Path("benchmarks/schedules.json"))
    add("--table", action="store_true", help="print the JSON as a Markdown table; run nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.out.read_text())))
    else:
        measure(options)


if __name__ == "__main__":
    main()
