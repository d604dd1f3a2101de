"""One joint matrix, or one per layer with shared key bits: bytes, seconds, exactness.

    python benchmarks/layers.py --data DIR --learned unit.h5

`--learned` is a bank of PermutedMNIST's unit masks, as `benchmarks/recall.py` makes it. Either way
the content address guesses the key from one image; in the joint memory it pulls all layers at once,
in the other each layer's reservoir recalls by itself from the same guess.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from common import write_json
from torch import Tensor

from hopmask import MaskMemory, OverloadWarning
from supsup_bridge import Experiment, MaskBank, RunSettings
from supsup_bridge.rng import stream


def measured(
    run: Experiment, bank: MaskBank, layers: list[list[str]], key: int, features: int
) -> dict[str, Any]:
    """Store and recall every task; layers are grouped by the memory that holds them."""
    sizes = run.network.mask_sizes
    memories = [
        MaskMemory({n: sizes[n] for n in names}, seed=0, key_bits=key, signature_features=features)
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
        "seconds_per_recall": seconds / bank.count,
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
    add("--benchmark", default="permuted-mnist", help="of the learned masks")
    add("--bits", type=int, help="of the learned masks (default: the benchmark's)")
    add("--keys", type=int, nargs="+", default=[256, 512, 1024], help="key bits")
    add("--features", type=int, default=2048, help="of the content address")
    add("--out", type=Path, default=Path("benchmarks/layers.json"))
    options = parser.parse_args()
    bank = MaskBank.load(options.learned)
    settings = RunSettings(
        benchmark=options.benchmark,
        masks="unit",
        seed=options.seed,
        tasks=bank.count,
        bits=options.bits,
        output_size=options.output_size,
        device="cpu",
    )
    run = Experiment(settings, data=options.data, learned=bank)
    names, rows = list(run.network.mask_sizes), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for layers in ([names], [[name] for name in names]):
            for key in options.keys:
                rows.append(measured(run, bank, layers, key, options.features))
                print(rows[-1], flush=True)
    write_json(options.out, rows)


if __name__ == "__main__":
    main()
