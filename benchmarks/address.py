"""What the content address is computed from: which task images are of, by the address alone.

    python benchmarks/address.py --data DIR

MNIST's training images alone: tasks are learned from the first 50,000 and inferred from the rest;
the permutations are others than a run's. For PermutedMNIST, RotatedMNIST and SplitMNIST the share
of sets of images whose guessed key is nearest to the right one, over

- what a signature is: the image, the fixed network's outputs at half mask, its entropy gradient;
- how it is read: random features and the linear guess of least mean squared error
  (`hopmask.memory.address`), or the signs of a fixed random projection of a task's mean signature,
  centred on all tasks, as many bits as the key has (a list of the means, for comparison only).

The gradient takes one backward pass per image: there tasks are learned from fewer images and
inferred from fewer sets, as the rows say.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import write_json
from torch import Tensor

from hopmask.memory.address import ContentAddress
from hopmask.patterns.keys import Keys
from supsup_bridge.data.datasets import load_mnist
from supsup_bridge.data.labelled import LabelledImages
from supsup_bridge.data.mnist_variants import rotated
from supsup_bridge.inference.signatures import Signature, of_sets, signature_named
from supsup_bridge.networks import registry as architectures
from supsup_bridge.rng import stream

TASKS = {"permuted-mnist": 100, "rotated-mnist": 36, "split-mnist": 5}
SEED, LEARNED, BITS = 1234, 50_000, 512
FEWER = {"gradient": (256, 100)}  # images that a task is learned from, sets at most


def tasks_of(benchmark: str, mnist: LabelledImages, tasks: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images to learn from and to infer from, of each task."""
    images, labels = mnist.images, mnist.labels
    for task in range(tasks):
        learn, infer = torch.arange(LEARNED), torch.arange(LEARNED, len(images))
        shown = images
        if benchmark == "permuted-mnist":
            order = torch.randperm(images.shape[1], generator=stream(SEED, "order", task))
            shown = images[:, order]
        elif benchmark == "rotated-mnist":
            shown = rotated(images, degrees=10.0 * task, background=float(images.min()))
        else:
            learn, infer = (part[labels[part] // 2 == task] for part in (learn, infer))
        yield shown[learn], shown[infer]


def drawn(images: Tensor, number: int, *index: int) -> Tensor:
    """So many of the images, without repeats where there are enough."""
    return images[torch.randperm(len(images), generator=stream(SEED, "draw", *index))[:number]]


class Signs:
    """Signs of a random projection of mean signatures, centred on all tasks: nearest wins."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def learn(self, signatures: Tensor) -> None:
        self.means.append(signatures.mean(0))

    def named(self, sets: Tensor) -> Tensor:
        means = torch.stack(self.means)
        centre = means.mean(0)
        projection = torch.randn(len(centre), BITS, generator=stream(SEED, "projection"))
        stored = ((means - centre) @ projection).sign()
        return (((sets.mean(1) - centre) @ projection).sign() @ stored.T).argmax(-1)


class ReadOut:
    """hopmask's content address."""

    def __init__(self, features: int) -> None:
        self.address = ContentAddress(Keys(seed=SEED, bits=BITS), features=features)

    def learn(self, signatures: Tensor) -> None:
        self.address.learn(self.address.count, self.address.describe(signatures))

    def named(self, sets: Tensor) -> Tensor:
        guess, _ = self.address.guess(sets)
        keys = self.address.keys.of(torch.arange(self.address.count))
        return (guess @ keys.T).argmax(-1)


def shares(
    way: Signs | ReadOut,
    signature: Signature,
    worlds: list[tuple[Tensor, Tensor]],
    sets: int,
    shown: list[int],
) -> dict[str, float]:
    """Share of sets named rightly, by images per set."""
    for learn, _ in worlds:
        way.learn(signature(learn))
    found = {}
    for images in shown:
        right = 0
        for task, (_, held) in enumerate(worlds):
            chosen = torch.stack([drawn(held, images, images, task, i) for i in range(sets)])
            right += int((way.named(of_sets(signature, chosen)) == task).sum())
        found[str(images)] = right / (sets * len(worlds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--samples", type=int, default=2048, help="images that a task is learned from")
    add("--sets", type=int, default=400, help="in all, of each number of images")
    add("--benchmarks", nargs="+", choices=TASKS, default=list(TASKS))
    add("--shown", type=int, nargs="+", default=[1, 8, 64], help="images per set")
    add("--tasks", type=int, help="at most, for a look")
    add(
        "--features",
        type=int,
        nargs="+",
        default=[2048, 512, 1024, 4096],
        help="random features: the first for every signature, the others for the image itself",
    )
    add("--out", type=Path, default=Path("benchmarks/address.json"))
    options = parser.parse_args()
    mnist, _ = load_mnist(options.data)
    network = architectures.build(
        "lenet-300-100",
        masks="hashed",
        inputs=784,
        outputs=100,
        bits=2048,
        weights=stream(SEED, "network"),
        spread=stream(SEED, "map"),
    )
    rows: list[dict[str, Any]] = []
    for benchmark in options.benchmarks:
        tasks = min(TASKS[benchmark], options.tasks or TASKS[benchmark])
        whole = [
            (drawn(learn, options.samples, number), drawn(held, 512, number, 1))
            for number, (learn, held) in enumerate(tasks_of(benchmark, mnist, tasks))
        ]
        for name in ("input", "outputs", "gradient"):
            samples, sets = options.samples, options.sets
            if name in FEWER:
                samples, sets = min(samples, FEWER[name][0]), min(sets, FEWER[name][1])
            worlds = [(learn[:samples], held) for learn, held in whole]
            ways: dict[str, Signs | ReadOut] = {"signs": Signs()}
            chosen = options.features if name == "input" else options.features[:1]
            ways |= {f"read-out, {n}": ReadOut(n) for n in chosen}
            for way, reader in ways.items():
                signature = signature_named(name, network)
                found = shares(reader, signature, worlds, -(-sets // tasks), options.shown)
                about = {"benchmark": benchmark, "tasks": tasks, "samples": samples, "sets": sets}
                rows.append({**about, "signature": name, "way": way, **found})
                print(rows[-1], flush=True)
                write_json(options.out, rows)


if __name__ == "__main__":
    main()
