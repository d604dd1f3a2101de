"""None of mine: unseen permutations of MNIST against a memory of a hundred known ones.

    python benchmarks/novelty.py --data DIR --learned bank.h5

`--learned` is a bank of 100 or more masks of PermutedMNIST, as `benchmarks/recall.py` makes it; its
first tasks are stored, the next ones of the same stream are the unseen. A recall says what it knows
by `hit.known`: False for data of an unseen task is a detection, for a known one a false alarm.
Images are those of the recall part, which no training saw.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supsup_bridge import Experiment, MaskBank, RunSettings, entropy
from supsup_bridge.recall import CLEAR
from supsup_bridge.streams import stream


def filled(options: argparse.Namespace, bank: MaskBank) -> Experiment:
    """A run whose memory holds the first tasks' masks; its stream goes on to the unseen ones."""
    settings = RunSettings(
        benchmark="permuted-mnist",
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


def share_known(run: Experiment, task: int, images: Tensor, recall: str) -> Tensor:
    """Which of some sets (b, n, pixels) the memory says it knows, and rightly names; (b, 2)."""
    hit = run.hopfield.recall(
        signature=images if recall == "both" else None,
        penalty=lambda masks: entropy(run.network(images, masks)).mean(-1),
        batch=None if recall == "both" else len(images),
        clear=CLEAR,
    )
    return torch.stack([hit.known, hit.known & (hit.task == task)], -1)


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    bank = MaskBank.load(options.learned)
    run, found = filled(options, bank), []
    for recall in ("entropy", "both"):
        for images in options.images:
            answers: dict[bool, list[Tensor]] = {True: [], False: []}
            for task in range(options.known + options.unseen):
                pool = run.stream[task].recall_images
                g = stream(options.seed, "novelty", images, task)
                sets = options.recalls if task < options.known else 5 * options.recalls
                draws = [torch.randperm(len(pool), generator=g)[:images] for _ in range(sets)]
                known = share_known(run, task, pool[torch.stack(draws)], recall)
                answers[task < options.known].append(known)
            known, unseen = torch.cat(answers[True]), torch.cat(answers[False])
            row = {
                "masks": options.masks,
                "known": options.known,
                "unseen": options.unseen,
                "seed": options.seed,
                "recall": recall,
                "images": images,
                "detected": float((~unseen[:, 0]).double().mean()),
                "of": len(unseen),
                "false_alarms": float((~known[:, 0]).double().mean()),
                "known_and_right": float(known[:, 1].double().mean()),
                "of_known": len(known),
            }
            print(row, flush=True)
            found.append(row)
    return found


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
    add("--recalls", type=int, default=8, help="of each known task; of an unseen one five times")
    add("--out", type=Path, default=Path("benchmarks/novelty.json"))
    options = parser.parse_args()
    options.out.write_text(json.dumps(rows(options), indent=1) + "\n")


if __name__ == "__main__":
    main()
