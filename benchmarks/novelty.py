"""None of mine: unseen permutations of MNIST against a memory of a hundred known ones.

    python benchmarks/novelty.py --data DIR --learned bank.h5

`--learned` is a bank of 100 or more masks of PermutedMNIST, as `benchmarks/recall.py` makes it; its
first tasks are stored, the next tasks of the same stream are the unseen. A recall says whether it
recognizes data by `hit.recognized`: False for data of an unseen task is a detection, for data of a
known one a false alarm. Images are of the recall part, which no training saw.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from common import write_json
from torch import Tensor

from hopmask import Search
from supsup_bridge import Experiment, MaskBank, RunSettings, entropy
from supsup_bridge.inference.recall import MIN_MARGIN
from supsup_bridge.rng import stream

_TOGETHER = 128  # recalls in one call


def filled(options: argparse.Namespace, bank: MaskBank) -> Experiment:
    """A run whose memory holds the first tasks' masks; its stream has the unseen tasks too."""
    settings = RunSettings(
        benchmark=options.benchmark,
        bits=options.bits,
        masks=options.masks,
        seed=options.seed,
        tasks=options.known + options.unseen,
        device="cpu",
    )
    run = Experiment(settings, data=options.data, learned=bank)
    for number in range(options.known):
        images = run.stream[number].train_images[:8192]
        run.memory.store(bank.recall(task=number).masks, signature=images)
    return run


def answers(run: Experiment, tasks: Tensor, images: int, recall: str) -> Tensor:
    """For a set of images per task: whether the memory recognizes it, and rightly; (sets, 2)."""
    drawn = []
    for place, task in enumerate(tasks.tolist()):
        pool = run.stream[task].inference_images
        g = stream(run.settings.seed, "novelty", images, place)
        drawn.append(pool[torch.randperm(len(pool), generator=g)[:images]])
    found = []
    for part, right in zip(
        torch.split(torch.stack(drawn), _TOGETHER), torch.split(tasks, _TOGETHER), strict=True
    ):
        hit = run.hopfield.recall(
            signature=part if recall == "both" else None,
            penalty=lambda masks, part=part: entropy(run.network(part, masks)).mean(-1),
            batch=None if recall == "both" else len(part),
            search=Search(min_margin=MIN_MARGIN),
        )
        found.append(torch.stack([hit.recognized, hit.recognized & (hit.task == right)], -1))
    return torch.cat(found).double()


def measure(options: argparse.Namespace) -> None:
    run = filled(options, MaskBank.load(options.learned))
    found: list[dict[str, Any]] = []
    known = torch.arange(options.recalls) % options.known
    unseen = options.known + torch.arange(options.recalls) % options.unseen
    for recall in ("entropy", "both"):
        for images in options.images:
            of_known = answers(run, known, images, recall)
            of_unseen = answers(run, unseen, images, recall)
            row = {
                "masks": options.masks,
                "known": options.known,
                "unseen": options.unseen,
                "seed": options.seed,
                "recall": recall,
                "images": images,
                "recalls": options.recalls,
                "detected": 1 - float(of_unseen[:, 0].mean()),
                "false_alarms": 1 - float(of_known[:, 0].mean()),
                "known_and_right": float(of_known[:, 1].mean()),
            }
            print(row, flush=True)
            found.append(row)
            write_json(options.out, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--learned", type=Path, required=True)
    add("--masks", default="hashed")
    add("--seed", type=int, default=0)
    add("--known", type=int, default=100)
    add("--unseen", type=int, default=20)
    add("--images", type=int, nargs="+", default=[1, 8, 64])
    add("--recalls", type=int, default=400, help="of known tasks, and as many of unseen ones")
    add("--benchmark", default="permuted-mnist", help="of the learned masks")
    add("--bits", type=int, help="of the learned masks (default: the benchmark's)")
    add("--out", type=Path, default=Path("benchmarks/novelty.json"))
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
