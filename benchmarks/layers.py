"""One joint matrix, or one a layer with shared key bits: bytes, seconds, exactness.

    python benchmarks/layers.py --data DIR --learned unit.h5

`--learned` is a bank of PermutedMNIST's unit masks, as `benchmarks/recall.py` makes it. Either way
the content address guesses the key from one image; in the joint memory it pulls all layers at once,
in the other each layer's reservoir is asked for itself with the same guess.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopmask import MaskMemory, OverloadWarning
from supsup_bridge import Experiment, MaskBank, RunSettings
from supsup_bridge.rng import stream


def measured(run: Experiment, bank: MaskBank, layers: list[list[str]], key: int) -> dict[str, Any]:
    """Store and recall every task; layers are grouped by the memory that holds them."""
    sizes = run.network.mask_sizes
    memories = [
        MaskMemory({n: sizes[n] for n in names}, seed=0, key_bits=key, signature_features=2048)
        for names in layers
    ]
    for task in range(bank.count):
        masks = bank.recall(task=task).masks
        images = run.stream[task].train_images[:8192]
        for memory in memories:
            memory.store({name: masks[name] for name in memory.shapes}, signature=images)
    numbered = exact = agree = 0
    seconds = 0.0
    for task in range(bank.count):
        pool = run.stream[task].inference_images
        image = pool[torch.randint(len(pool), (1,), generator=stream(0, "layers", task))]
        masks = bank.recall(task=task).masks
        numbered += all(_right(memory.recall(task=task).masks, masks) for memory in memories)
        start = time.perf_counter()
        hits = [memory.recall(signature=image) for memory in memories]
        seconds += time.perf_counter() - start
        exact += all(_right(hit.masks, masks) for hit in hits)
        agree += len({int(hit.task) for hit in hits}) == 1
    return {
        "memories": ["+".join(names) for names in layers],
        "key_bits": key,
        "tasks": bank.count,
        "bytes_of_matrices": sum(memory.couplings.nbytes for memory in memories),
        "exact_by_number": numbered / bank.count,
        "exact_by_one_image": exact / bank.count,
        "layers_agree": agree / bank.count,
        "seconds_a_recall": seconds / bank.count,
    }


def _right(found: dict[str, Tensor], learned: dict[str, Tensor]) -> bool:
    """Whether masks, batched or not, are those learned."""
    return all(torch.equal(mask.reshape(-1), learned[n].reshape(-1)) for n, mask in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--learned", type=Path, required=True)
    add("--seed", type=int, default=0)
    add("--output-size", type=int)
    add("--out", type=Path, default=Path("benchmarks/layers.json"))
    options = parser.parse_args()
    bank = MaskBank.load(options.learned)
    settings = RunSettings(
        benchmark="permuted-mnist",
        masks="unit",
        seed=options.seed,
        tasks=bank.count,
        output_size=options.output_size,
        device="cpu",
    )
    run = Experiment(settings, data=options.data, learned=bank)
    names, rows = list(run.network.mask_sizes), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for layers in ([names], [[name] for name in names]):
            for key in (256, 512, 1024):
                rows.append(measured(run, bank, layers, key))
                print(rows[-1], flush=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
